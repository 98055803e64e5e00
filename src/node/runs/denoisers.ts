/** Runs of U-Nets and students: from a model's folder and a run's fields to the task, the data and the result's shape. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { check } from "../../core/assert.ts";
import { defaultsFor } from "../../models/detect.ts";
import { buildUNet, type UNetSize } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { vaeFactor } from "../../models/vae.ts";
import { type ModelParts, openParts } from "../../pipeline/parts.ts";
import type { Engine } from "../../runtime/session.ts";
import {
  bytesOf,
  type ConsistencyRun,
  type DenoiserRun,
  type DistillRun,
  type PromptedRun,
  type UNetRun,
} from "../../train/config.ts";
import {
  openVaeEncoder,
  textCaptionEncoder,
  type VaeEncoderPart,
  vaePictureEncoder,
} from "../../train/data/encode.ts";
import type { Loader } from "../../train/data/loader.ts";
import { cutStore, cutUNet } from "../../train/distill/cut.ts";
import { featurePairs } from "../../train/distill/features.ts";
import { distillMemory } from "../../train/distill/memory.ts";
import type { CutPlan } from "../../train/distill/plan.ts";
import { CUT_RECORD, cutRecord, planFromRecord } from "../../train/distill/record.ts";
import { cutRuleName } from "../../train/distill/rules.ts";
import { optimizerOf } from "../../train/run.ts";
import { distillTask, type Network } from "../../train/tasks/distill.ts";
import { parseFeatures } from "../../train/tasks/feature-text.ts";
import { freshStore } from "../../train/tasks/fresh.ts";
import { liveBytes, planDistill } from "../../train/tasks/memory.ts";
import type { LatentOptions, NoisedOptions } from "../../train/tasks/noised.ts";
import { type TrainingNoise, trainingNoise } from "../../train/tasks/schedule.ts";
import { unetTask } from "../../train/tasks/unet.ts";
import { checkWeights } from "../../weights/check.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openComponent, readJson } from "../../weights/layout.ts";
import { bytes } from "../cli/units.ts";
import { fingerprint } from "../data/hash.ts";
import type { PrepareOptions } from "../data/prepare.ts";
import { adaptedResult, checkLora, loraOf, notLora } from "./adapted.ts";
import {
  checkSide,
  type Job,
  type JobOptions,
  memoryLine,
  memoryOf,
  memoryText,
  type OpenModel,
} from "./job.ts";
import { openModelFile } from "./json-file.ts";
import { absolute, indexOf, type NewPart } from "./model-folder.ts";
import { drawSamples, samplePrompts } from "./samples.ts";

/** A model folder, open, and what is read off it. */
export interface Base {
  readonly files: ModelFiles;
  readonly parts: ModelParts;
  readonly vae: VaeEncoderPart;
  /** What the model draws where nobody says: side in pixels. */
  readonly resolution: number;
  readonly prediction: string;
}

/** @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_FILE */
export async function openBase(
  location: string,
  open: OpenModel,
  warn: (line: string) => void,
): Promise<Base> {
  const files = await open(location);
  await indexOf(files);
  const parts = await openParts(files, { openBase: open, warn });
  const vae = await openVaeEncoder(files);
  const { width, prediction } = defaultsFor({
    location,
    modelIndex: parts.index,
    unet: parts.unet.json,
    scheduler: parts.scheduler,
    factor: parts.vae.factor,
  });
  check(parts.unet.config.guidanceChannels === null, "E_MODEL", () => ({
    where: location,
    expected: "a U-Net that learns without a teacher's guidance",
    got: "one that is told the guidance (LCM)",
  }));
  return { files, parts, vae, resolution: width, prediction };
}

/** Encoders of the data by the model's own parts, and under which names their results are kept. */
export async function encodersOf(
  { parts, vae }: Base,
  engine: Engine,
  threads: number | undefined,
  warn: (line: string) => void,
): Promise<Pick<PrepareOptions, "pictures" | "captions">> {
  const o = { engine, batch: 16, dtype: "float16", ...(threads === undefined ? {} : { threads }) } as const;
  const encoderNames = [...vae.store.tensors.keys()].filter((name) => /^(encoder|quant_conv)\./.test(name));
  const texts: string[] = [];
  for (const { store, tokenizer, config } of parts.texts)
    texts.push(await fingerprint(store, store.tensors.keys()), JSON.stringify([tokenizer.maxLength, config]));
  return {
    pictures: vaePictureEncoder(vae, {
      ...o,
      fingerprint: `${await fingerprint(vae.store, encoderNames)} ${JSON.stringify(vae.config)}`,
    }),
    captions: textCaptionEncoder(parts, { ...o, fingerprint: texts.join(" ") }, (caption, lost) =>
      warn(
        `the caption "${caption.slice(0, 40)}…" is too long for the text encoder; its end is not learned: ${lost}`,
      ),
    ),
  };
}

/** The run with what its model says filled in, and paths that hold from any folder. @throws KoalaError E_CONFIG */
export function resolved<R extends PromptedRun>(run: R, { vae, resolution: own }: Base): R {
  const resolution = run.resolution ?? own;
  checkSide("resolution", resolution, vaeFactor(vae.config));
  return {
    ...run,
    data: run.data.map(absolute),
    resolution,
    minSide: run.minSide ?? Math.ceil(resolution / 2),
    ...(run.cache === undefined ? {} : { cache: resolve(run.cache) }),
  };
}

/** What runs of all denoisers do alike. */
export function denoiserJob(
  run: UNetRun | DistillRun | ConsistencyRun,
  base: Base,
  o: JobOptions,
): Omit<Job, "task" | "part" | "memory"> {
  return {
    run,
    base: base.files,
    records: {
      ...(run.captions === undefined ? {} : { captions: run.captions }),
      ...(run.group === undefined ? {} : { group: run.group }),
    },
    heldOut: [],
    cell: vaeFactor(base.vae.config),
    keepsFlips: true,
    loading: { emptyCaptions: run.emptyCaptions, hasText: true },
    encoders: () => encodersOf(base, o.engine, run.threads, o.warn),
    result: async (weights) => ({ weights, config: {} }),
    isDrawnFromResult: true,
    async sample({ sheet, model, watch }, _, { learned }) {
      const prompts = samplePrompts(run, learned.samples);
      await drawSamples(model, sheet, run, prompts, (done) => watch.phase("samples", done, prompts.length));
      return {};
    },
    dispose: async () => {},
  };
}

export const sizeOf = (run: PromptedRun, { vae, parts }: Base): UNetSize => {
  const side = (run.resolution ?? 0) / vaeFactor(vae.config);
  return { batch: run.batch, height: side, width: side, tokens: parts.texts[0]?.tokenizer.maxLength ?? 0 };
};

function dataOf(
  run: DenoiserRun,
  base: Base,
  unet: NoisedOptions["unet"],
  loader: Pick<Loader, "at">,
): NoisedOptions {
  return {
    ...noiseOf(base),
    ...latentsOf(run, base, unet, loader),
    minSnr: run.minSnr,
    noiseOffset: run.noiseOffset,
  };
}

/** What the model was trained under. */
export const noiseOf = ({ parts, prediction }: Base): TrainingNoise =>
  trainingNoise({ ...parts.scheduler, prediction_type: prediction }, parts.schedulerPath);

export const latentsOf = (
  run: PromptedRun,
  base: Base,
  unet: NoisedOptions["unet"],
  loader: Pick<Loader, "at">,
): LatentOptions => ({
  ...{ loader, unet, size: sizeOf(run, base), vae: base.vae.config, seed: run.seed },
  hasZeroForEmpty: base.parts.isXL && base.parts.hasZeroForEmpty,
});

/** @throws KoalaError E_CONFIG, E_FILE, E_WEIGHTS */
export async function unetJob(given: UNetRun, o: JobOptions): Promise<Job> {
  const base = await openBase(given.model, o.open, o.warn);
  const run = {
    ...{ ...resolved(given, base), model: absolute(given.model) },
    ...(given.unet === undefined ? {} : { unet: resolve(given.unet) }),
  };
  const json = run.unet === undefined ? base.parts.unet.json : await openModelFile(run.unet);
  const config = run.unet === undefined ? base.parts.unet.config : unetConfig(json, run.unet);
  const size = sizeOf(run, base);
  const isFresh = run.fresh || run.unet !== undefined;
  const initial = isFresh ? freshStore(buildUNet(config, size).parameters, run.seed) : base.parts.unet.store;
  checkReads(run.unet ?? "unet", config, base);
  const data = dataOf(run, base, config, o.loader);
  const lora = loraOf(run);
  const task = unetTask({ config, size, initial, data, accumulate: run.accumulate, ...(lora && { lora }) });
  checkLora(task.weights, run);
  return {
    ...denoiserJob(run, base, o),
    ...(lora === undefined ? {} : adaptedResult(initial)),
    task,
    part: { name: "unet", files: { "config.json": json }, ...(lora === undefined ? {} : { holds: notLora }) },
    memory: memoryLine(memoryOf(task, run)),
  };
}

/** Holds that a U-Net of another shape fits the model's other parts. */
export function checkReads(where: string, own: NoisedOptions["unet"], { parts }: Base): void {
  const { config } = parts.unet;
  const facts = (c: NoisedOptions["unet"]): string =>
    `${c.inChannels} to ${c.outChannels} channels, ${c.textChannels} of text, ${c.added?.pooledChannels ?? 0} pooled`;
  check(facts(own) === facts(config), "E_CONFIG", () => ({
    where,
    expected: `a U-Net for the model's other parts: ${facts(config)}`,
    got: facts(own),
  }));
}

export interface Student extends Network {
  readonly files: NewPart["files"];
  /** Where it was cut, if that is known. */
  readonly plan: CutPlan | null;
}

export async function studentOf(
  run: Pick<DistillRun, "teacher" | "student">,
  { parts }: Base,
  open: OpenModel,
): Promise<Student> {
  if (!existsSync(run.student) && !run.student.includes("/")) {
    const rule = cutRuleName(run.student);
    const cut = cutUNet(parts.unet.json, rule);
    return {
      config: unetConfig(cut.config),
      store: cutStore(cut, parts.unet.store, run.teacher),
      plan: cut.plan,
      files: { "config.json": cut.config, [CUT_RECORD]: cutRecord(cut, run.teacher, rule, {}) },
    };
  }
  const files = await open(run.student);
  const { config: json, store } = await openComponent(files, "unet");
  const where = `${run.student}/unet`;
  const config = unetConfig(json, `${where}/config.json`);
  const { parameters } = buildUNet(config, { batch: 1, height: 8, width: 8, tokens: 1 });
  checkWeights(store, new Map([...parameters].map(([name, { value }]) => [name, value.shape])), { where });
  const record = (await files.list()).includes(`unet/${CUT_RECORD}`)
    ? await readJson(files, `unet/${CUT_RECORD}`)
    : null;
  return {
    config,
    store,
    plan: record === null ? null : planFromRecord(record, `${where}/${CUT_RECORD}`),
    files: { "config.json": json, ...(record === null ? {} : { [CUT_RECORD]: record }) },
  };
}

/** @throws KoalaError E_CONFIG for features that do not fit, E_MODEL, E_MEMORY with the least that would do, E_FILE */
export async function distillJob(given: DistillRun, o: JobOptions): Promise<Job> {
  const base = await openBase(given.teacher, o.open, o.warn);
  const run = {
    ...{ ...resolved(given, base), teacher: absolute(given.teacher), student: absolute(given.student) },
  };
  const student = await studentOf(run, base, o.open);
  const teacher: Network = base.parts.unet;
  const size = sizeOf(run, base);
  const pairs =
    run.featureWeight === 0
      ? []
      : featurePairs(teacher.config, student.config, {
          features: parseFeatures(run.features),
          ...(student.plan === null ? {} : { plan: student.plan }),
          ...(run.map === undefined ? {} : { map: run.map }),
          size,
        });
  const common = {
    ...{ teacher, student, size, pairs, detail: run.detail, accumulate: run.accumulate, engine: o.engine },
    ...(run.threads === undefined ? {} : { threads: run.threads }),
    weights: { task: run.taskWeight, output: run.outputWeight, feature: run.featureWeight },
    data: dataOf(run, base, student.config, o.loader),
  };
  const together = distillTask({ ...common, turn: null });
  const apart = distillTask({ ...common, turn: run.turn });
  const { teacherWeights, targets } = distillMemory({
    ...{ teacher: teacher.config, student: student.config, size, pairs, optimizer: optimizerOf(run) },
    targetDtype: "float16",
    keptBatches: run.turn,
  });
  // the teacher runs beside the student's state at rest; its own values are gone when the student learns
  const alone = teacherWeights + liveBytes(buildUNet(teacher.config, size).outputs);
  const [beside, own] = [memoryOf(together, run), memoryOf(apart, run)];
  const plan = planDistill(
    {
      together: beside.total + teacherWeights,
      inTurns: own.total - own.step + targets + Math.max(own.step, alone),
    },
    run.memory === undefined ? null : bytesOf(run.memory),
    bytes,
  );
  const { task, said } = plan.isInTurns
    ? {
        task: apart,
        said: `teacher and student in turns of ${run.turn} batches, ${bytes(targets)} of answers kept`,
      }
    : { task: together, said: `${bytes(teacherWeights)} of teacher in one graph with the student` };
  const total = plan.isInTurns ? plan.inTurns : plan.together;
  return {
    ...denoiserJob(run, base, o),
    task,
    part: { name: "unet", files: student.files },
    memory: `at least ${bytes(total)} of memory: ${said}; ${memoryText(plan.isInTurns ? own : beside)}`,
  };
}
