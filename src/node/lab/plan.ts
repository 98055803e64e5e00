/** A study as work in order, what it will cost by what was measured, and how a budget shortens it. Pure: nothing runs here. */

import { join } from "node:path";
import { check } from "../../core/assert.ts";
import type { Precision } from "../../runtime/session.ts";
import type { OptimizerName } from "../../train/run-fields.ts";
import { roughlyUp, roughSeconds } from "../cli/units.ts";
import type { Arm, Design, Draw, Fields, Made, Ref, Variant } from "./study.ts";

/** What a study is asked with: all of it is told in the report, and a folder goes on only with the same. */
export interface Settings {
  readonly study: string;
  readonly teacher: string;
  readonly data: string;
  /** The folder within `data` that is learned from and judged by; "" is `data` itself. */
  readonly split: string;
  readonly scorer: string;
  /** Fields of the data that hold captions, in the order to be tried; where there is but one, pictures are judged by it too. */
  readonly captions: readonly string[];
  /** Field from whose values R-precision takes its other captions. */
  readonly group: string;
  /** By which drawing in training is balanced; null: not. */
  readonly balance: string | null;
  readonly seeds: number;
  /** Seconds for the whole study; null: as long as it takes. */
  readonly budget: number | null;
  /** Of each run, before a budget. */
  readonly steps: number;
  readonly batch: number;
  readonly rate: number;
  /** By which all runs learn. */
  readonly optimizer: OptimizerName;
  /** Captions that each arm draws, before a budget. */
  readonly count: number;
  readonly ways: number;
  readonly isFull: boolean;
  /** Names of the arms that are asked of all that there are; null: all. */
  readonly arms: readonly string[] | null;
  readonly engine: string;
  /** Of training and of drawing. */
  readonly precision: Precision;
  readonly threads: number | null;
}

/** The field that says it, of a run, of a command and of a request for a picture; f32 is what they do unasked. */
export const inPrecision = ({ precision }: Pick<Settings, "precision">): { precision?: Precision } =>
  precision === "f32" ? {} : { precision };

/** How long a study's runs and pictures are, after a budget. */
export interface Length {
  readonly steps: number;
  readonly count: number;
}

/** A run to be trained. */
export interface Training {
  /** Under the study's folder. */
  readonly path: string;
  /** As the study has them. */
  readonly own: Fields;
  /** With all that is usual, every name a path. */
  readonly fields: Fields;
}

/** An arm to be judged, once a seed. */
export interface Trial {
  readonly arm: Arm;
  readonly seed: number;
  readonly path: string;
  readonly training: Training | null;
  /** The folder of the model that is judged. */
  readonly model: string;
  readonly draws: readonly Draw[];
}

/** What the consistency losses take of the other runs' rate: they move a network that draws well already. */
const consistencyShare = 0.2;
/** Of a run's steps. */
const warmupShare = 0.05;
const checkpoints = 10;
/** For runs of some hundred steps, of which the average of the last hundred is the best. */
const ema = 0.99;

export const trainPath = ({ data, split }: Settings): string => (split === "" ? data : join(data, split));

export const isRef = (value: unknown): value is Ref => typeof value === "string" && value.startsWith("@");

/** Where the thing of that name lies. */
function placeOf(ref: Ref, out: string, { made }: Design, settings: Settings): string {
  const name = ref.slice(1);
  if (name === "teacher") return settings.teacher;
  const model = made.find((one) => one.name === name);
  if (model === undefined) return join(out, "data", name);
  return model.how.kind === "cut" ? join(out, "made", name) : join(out, "made", name, "model");
}

const resolved = (value: unknown, place: (ref: Ref) => string): unknown =>
  isRef(value) ? place(value) : Array.isArray(value) ? value.map((one) => resolved(one, place)) : value;

/** The fields of a run, all that is usual filled in and every name a path. */
export function fieldsOf(
  own: Fields,
  o: {
    readonly out: string;
    readonly design: Design;
    readonly settings: Settings;
    readonly steps: number;
    readonly seed: number;
  },
): Fields {
  const { settings, steps } = o;
  const { rate, batch, optimizer, captions, balance, engine, threads } = settings;
  const place = (ref: Ref): string => placeOf(ref, o.out, o.design, settings);
  const usual = {
    data: [trainPath(settings)],
    cache: join(o.out, "cache"),
    captions,
    ...(balance === null ? {} : { group: balance }),
    ...{ steps, batch, rate: own.kind === "consistency" ? consistencyShare * rate : rate },
    ...(optimizer === "adamw" ? {} : { optimizer }), // what a run has unasked needs no word in its command
    ...{ schedule: "cosine", warmup: Math.floor(warmupShare * steps), ema },
    ...{ checkpointEvery: Math.max(1, Math.ceil(steps / checkpoints)), keep: 1, sampleEvery: 0 },
    ...{ seed: o.seed, engine, ...inPrecision(settings) },
    ...(threads === null ? {} : { threads }),
  };
  const given = Object.entries(own).map(([key, value]) => [key, resolved(value, place)]);
  return { ...usual, ...Object.fromEntries(given) };
}

export interface Plan {
  readonly settings: Settings;
  readonly length: Length;
  readonly design: Design;
  readonly variants: readonly (Variant & { readonly path: string })[];
  readonly made: readonly (Made & { readonly path: string; readonly training: Training | null })[];
  /** Seed by seed, so that a study that is cut short compares what it has. */
  readonly trials: readonly Trial[];
}

/** The work of a study in the folder `out`. */
export function planOf(design: Design, settings: Settings, length: Length, out: string): Plan {
  const common = { out, design, settings, steps: length.steps };
  const made = design.made.map((one) => {
    const path = join(out, "made", one.name);
    const { how } = one;
    if (how.kind === "cut") return { ...one, path, training: null };
    const fields = fieldsOf(how.fields, { ...common, seed: 0 });
    return { ...one, path, training: { path, own: how.fields, fields } };
  });
  const trialOf = (arm: Arm, seed: number): Trial => {
    const draws = arm.draws ?? design.draws;
    if ("model" in arm.of) {
      const path = join(out, "arms", arm.name);
      return { arm, seed, path, training: null, model: placeOf(arm.of.model, out, design, settings), draws };
    }
    const path = join(out, "arms", arm.name, `seed-${seed}`);
    const run = join(path, "run");
    const fields = fieldsOf(arm.of.run, { ...common, seed });
    return {
      arm,
      seed,
      path,
      training: { path: run, own: arm.of.run, fields },
      model: join(run, "model"),
      draws,
    };
  };
  const seeds = Array.from({ length: settings.seeds }, (_, i) => i);
  const isOnce = ({ of }: Arm): boolean => "model" in of;
  return {
    ...{ settings, length, design, made },
    variants: design.variants.map((one) => ({ ...one, path: join(out, "data", one.name) })),
    trials: seeds.flatMap((seed) =>
      design.arms.filter((arm) => seed === 0 || !isOnce(arm)).map((arm) => trialOf(arm, seed)),
    ),
  };
}

/** The same fields with models that are not made yet stood in for by what they begin as, and the study's own data. */
export function timingFields({ data: _, ...own }: Fields, { made }: Design): Fields {
  const standIn = (value: unknown): unknown => {
    const model = isRef(value) ? made.find(({ name }) => `@${name}` === value) : undefined;
    if (model?.how.kind !== "run") return value;
    const { student, teacher } = model.how.fields;
    return standIn(student ?? teacher);
  };
  return Object.fromEntries(Object.entries(own).map(([key, value]) => [key, standIn(value)]));
}

/** Alike for runs that cost the same: the kind, the shapes of both networks, and whether teacher and features are needed at all. */
export function costKey(own: Fields, design: Design): string {
  const { kind, teacher, student, outputWeight, featureWeight } = timingFields(own, design);
  const shape = (value: unknown): unknown => {
    const how = design.made.find(({ name }) => `@${name}` === value)?.how;
    return how?.kind === "cut" ? [how.rule, how.depth ?? null] : (value ?? null);
  };
  const hasFeatures = featureWeight !== 0;
  const hasTeacher = hasFeatures || outputWeight !== 0;
  return JSON.stringify([kind, hasTeacher ? shape(teacher) : null, shape(student), hasFeatures]);
}

/** Of a run: seconds a step, and before and after all steps. */
export interface RunCost {
  readonly step: number;
  readonly around: number;
}

/** Of a picture: seconds a sampling step, and for the rest of it. */
export interface PictureCost {
  readonly step: number;
  readonly around: number;
}

/** What a short timing on this machine has found. */
export interface Costs {
  /** By `costKey`. */
  readonly runs: Readonly<Record<string, RunCost>>;
  readonly picture: PictureCost;
  /** Sampling steps where a draw does not say. */
  readonly usualSteps: number;
}

export interface Estimate {
  readonly runs: number;
  readonly pictures: number;
  /** Seconds. */
  readonly training: number;
  readonly drawing: number;
  readonly total: number;
}

/** A draw's name: of its folder, and in tables. */
export const drawName = ({ steps, guidance }: Draw): string =>
  [
    ...(steps === undefined ? [] : [`${steps} steps`]),
    ...(guidance === undefined ? [] : [`guidance ${guidance}`]),
  ].join(", ") || "as the model says";

export const drawFolder = (draw: Draw): string => drawName(draw).replaceAll(/[ ,]+/g, "-");

const isTeacher = ({ of }: Arm): boolean => "model" in of && of.model === "@teacher";

/** The ways to draw that the teacher is asked for too: pictures are compared with its own. */
export function teacherDraws({ trials }: Pick<Plan, "trials">): Draw[] {
  const all = trials.flatMap(({ draws }) => draws);
  return all.filter((draw, i) => all.findIndex((other) => drawName(other) === drawName(draw)) === i);
}

export function estimate(plan: Plan, costs: Costs): Estimate {
  const trainings = [...plan.made, ...plan.trials].flatMap(({ training }) => training ?? []);
  const training = trainings.reduce((sum, { own, fields }) => {
    const { step = 0, around = 0 } = costs.runs[costKey(own, plan.design)] ?? {};
    return sum + around + step * Number(fields.steps);
  }, 0);
  const drawn = plan.trials.filter(({ arm }) => !isTeacher(arm)).flatMap(({ draws }) => draws);
  const draws = [...drawn, ...teacherDraws(plan)];
  const { picture, usualSteps } = costs;
  const drawing = draws.reduce(
    (sum, { steps = usualSteps }) => sum + plan.length.count * (picture.around + picture.step * steps),
    0,
  );
  return {
    runs: trainings.length,
    pictures: draws.length * plan.length.count,
    ...{ training, drawing, total: training + drawing },
  };
}

/** Captions below which scores of arms are mostly chance. */
const leastCount = 32;
/** Steps below which no student learns anything. */
const leastSteps = 10;
/** Of a budget, what drawing may take before it is shortened too. */
const drawingShare = 0.4;

/**
 * The longest study that the budget allows: first fewer captions where drawing takes too much of it, then fewer steps.
 * @throws KoalaError E_FLAG with the least budget that would do
 */
export function fitBudget(
  design: Design,
  settings: Settings,
  costs: Costs,
  out: string,
): { readonly length: Length; readonly whole: Estimate; readonly estimate: Estimate } {
  const { budget, steps, count } = settings;
  const of = (length: Length): Estimate => estimate(planOf(design, settings, length, out), costs);
  const asked: Length = { steps, count };
  const whole = of(asked);
  if (budget === null || whole.total <= budget) return { length: asked, whole, estimate: whole };
  const [fewestSteps, fewestCaptions] = [Math.min(steps, leastSteps), Math.min(leastCount, count)];
  // however much drawing may take, the runs have their fixed time and the steps below which there is no study
  const rest = budget - of({ steps: fewestSteps, count: 0 }).total;
  const most = Math.min(Math.max(drawingShare * budget, budget - whole.training), rest);
  const fewer = Math.floor((count * most) / whole.drawing);
  const captions = Math.min(count, Math.max(fewestCaptions, fewer));
  // the estimate is linear in the steps of all runs
  const [none, all] = [of({ steps: 0, count: captions }).total, of({ steps, count: captions }).total];
  const exact = (steps * (budget - none)) / (all - none);
  const shorter = all <= budget ? steps : Math.floor(exact + 1e-9); // a budget that just does loses no step to rounding
  const least = of({ steps: fewestSteps, count: fewestCaptions }).total;
  check(shorter >= fewestSteps, "E_FLAG", () => ({
    where: "--budget",
    expected: `at least ${roughSeconds(roughlyUp(least))} for ${whole.runs} runs on this machine`,
    got: roughSeconds(budget),
    hint: "Fewer --seeds, a smaller --batch or a larger --budget would do.",
  }));
  const length = { steps: shorter, count: captions };
  return { length, whole, estimate: of(length) };
}
