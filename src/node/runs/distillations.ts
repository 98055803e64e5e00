/** Runs of students that learn by features: the student from a rule or a folder, teacher and student beside each other or in turns. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { tapsOf } from "../../graph/order.ts";
import { vaeFactor } from "../../models/vae.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import { bytesOf, type DistillRun } from "../../train/config.ts";
import { cutStore } from "../../train/distill/cut.ts";
import { type FeaturePair, featurePairs } from "../../train/distill/features.ts";
import { answerBytes } from "../../train/distill/memory.ts";
import type { CutPlan } from "../../train/distill/plan.ts";
import { CUT_RECORD, cutRecord, planFromRecord } from "../../train/distill/record.ts";
import { teacherTaps } from "../../train/distill/sides.ts";
import { buildNetwork, checkNetwork, type Network } from "../../train/networks/network.ts";
import { openNetwork } from "../../train/networks/open.ts";
import { type DistillTaskOptions, distillTask } from "../../train/tasks/distill.ts";
import { parseFeatures } from "../../train/tasks/feature-text.ts";
import { type DistillPlan, distillBytes, planDistill, type Saving } from "../../train/tasks/memory.ts";
import type { Task } from "../../train/tasks/task.ts";
import { turnLength } from "../../train/tasks/turns.ts";
import { openComponent, readJson } from "../../weights/layout.ts";
import { bytes } from "../cli/units.ts";
import { fileAnswers } from "./answers.ts";
import { type Base, dataOf, denoiserJob, openBase, partOf, resolved, sizeOf } from "./denoisers.ts";
import { type Job, type JobOptions, memoryOf, memoryText, type OpenModel, sizesOf } from "./job.ts";
import { absolute, type NewPart } from "./model-folder.ts";

export interface Student {
  readonly network: Network;
  /** Small files beside its config.json. */
  readonly files: NewPart["files"];
  /** Where it was cut, if that is known. */
  readonly plan: CutPlan | null;
}

export async function studentOf(
  run: Pick<DistillRun, "teacher" | "student">,
  { network: teacher }: Base,
  open: OpenModel,
): Promise<Student> {
  const { name } = teacher;
  if (!existsSync(run.student) && !run.student.includes("/")) {
    const cut = teacher.cut(run.student);
    const store = cutStore(cut, teacher.store, run.teacher);
    return {
      network: openNetwork(name, cut.config, store, run.student),
      plan: cut.plan,
      files: { [CUT_RECORD]: cutRecord(cut, run.teacher) },
    };
  }
  const files = await open(run.student);
  const { config: json, store } = await openComponent(files, name);
  const where = `${run.student}/${name}`;
  const network = openNetwork(name, json, store, `${where}/config.json`);
  checkNetwork(network, where);
  const record = (await files.list()).includes(`${name}/${CUT_RECORD}`)
    ? await readJson(files, `${name}/${CUT_RECORD}`)
    : null;
  return {
    network,
    plan: record === null ? null : planFromRecord(record, `${where}/${CUT_RECORD}`),
    files: record === null ? {} : { [CUT_RECORD]: record },
  };
}

/** Settings that need less, those that cost least first. */
function savingsOf(student: Network, size: DenoiserSize): Saving[] {
  const taps = [...tapsOf(Object.values(buildNetwork(student, size).outputs)).keys()];
  const stages = taps.filter((name) => /^(down_blocks|up_blocks)\.\d+$/.test(name));
  return [
    { flag: "--answers disk", change: { answers: "disk" } },
    { flag: "--ema-dtype float16", change: { emaDtype: "float16" } },
    { flag: "--optimizer adam16bit", change: { optimizer: "adam16bit" } },
    { flag: "--optimizer adam8bit", change: { optimizer: "adam8bit" } },
    { flag: "--ema 0", change: { ema: 0 } },
    ...(stages.length === 0
      ? []
      : [{ flag: `--recompute ${stages.join(" ")}`, change: { recompute: stages } }]),
  ];
}

/** Batches of the steps that are left. */
const batchesLeft = ({ steps, accumulate }: DistillRun, done: number | null): number =>
  accumulate * Math.max(1, steps - (done ?? 0));

/** Batches that the teacher answers for in a turn. */
const turnOf = (run: DistillRun, done: number | null): number =>
  Math.min(turnLength(run.turn, run.accumulate), batchesLeft(run, done));

/** Batches whose answers are in memory at a time: those of a step, where the others wait on the disk. */
const answersHeld = (run: DistillRun, done: number | null): number =>
  run.answers === "disk" ? run.accumulate : turnOf(run, done);

/** @throws KoalaError E_MEMORY with the least that would do, unless the run is one that goes on: its settings are no choice */
function planOf(
  run: DistillRun,
  o: Pick<DistillTaskOptions, "teacher" | "student" | "size" | "pairs"> &
    Pick<JobOptions, "done" | "warn"> & {
      readonly sizes: Job["sizes"];
      readonly together: Task;
      readonly apart: Task;
      /** Bytes of the answers to a batch. */
      readonly kept: number;
    },
): DistillPlan {
  const { student, size, sizes, pairs, kept, done } = o;
  const { outputs } = buildNetwork(o.teacher, size);
  const asked = new Set(teacherTaps(pairs));
  const taps = [...tapsOf(Object.values(outputs))].filter(([name]) => asked.has(name));
  const bytesAs = (changed: DistillRun): Pick<DistillPlan, "together" | "inTurns"> =>
    distillBytes({
      together: memoryOf(o.together, changed, sizes),
      apart: memoryOf(o.apart, changed, sizes),
      isOneTurn: changed.turn >= batchesLeft(changed, done),
      answers: { ...outputs, ...Object.fromEntries(taps) },
      targets: kept * answersHeld(changed, done),
    });
  const own = bytesAs(run);
  const limit = run.memory === undefined ? null : bytesOf(run.memory);
  if (done !== null && limit !== null && Math.min(own.together, own.inTurns) > limit) {
    o.warn(
      `teacher and student need ${bytes(own.inTurns)} in turns, more than the run's ${bytes(limit)} of memory: it goes on in turns all the same`,
    );
    return { ...own, isInTurns: true };
  }
  return planDistill(
    own,
    limit,
    bytes,
    savingsOf(student, size),
    (change) => bytesAs({ ...run, ...change }).inTurns,
  );
}

/** @throws KoalaError E_CONFIG for features that do not fit, E_MODEL, E_MEMORY with the least that would do, E_FILE */
export async function distillJob(given: DistillRun, o: JobOptions): Promise<Job> {
  const base = await openBase(given.teacher, o.open, o.warn);
  const run = {
    ...{ ...resolved(given, base), teacher: absolute(given.teacher), student: absolute(given.student) },
  };
  const { network: student, plan: cut, files } = await studentOf(run, base, o.open);
  const teacher = base.network;
  const size = sizeOf(run, base, o);
  const sizes = sizesOf(run, vaeFactor(base.vae.config));
  const pairsAt = (at: DenoiserSize): FeaturePair[] =>
    run.featureWeight === 0
      ? []
      : featurePairs(teacher, student, {
          features: parseFeatures(run.features),
          ...(cut === null ? {} : { plan: cut }),
          ...(run.map === undefined ? {} : { map: run.map }),
          size: at,
        });
  const pairs = pairsAt(size);
  const common = {
    ...{
      teacher,
      student,
      size,
      pairs,
      pairsAt,
      detail: run.detail,
      accumulate: run.accumulate,
      engine: o.engine,
      precision: run.precision,
    },
    ...(run.threads === undefined ? {} : { threads: run.threads }),
    weights: { task: run.taskWeight, output: run.outputWeight, feature: run.featureWeight },
    data: dataOf(run, base, student, o),
  };
  const together = distillTask({ ...common, turn: null });
  const apart = distillTask({
    ...{ ...common, turn: run.turn, steps: run.steps },
    ...(run.answers === "disk"
      ? { answers: fileAnswers(join(o.folder, `.answers-${o.share.rank}.tmp`)) }
      : {}),
  });
  const kept = answerBytes(student, size, pairs);
  const { done, warn } = o;
  const plan = planOf(run, { teacher, student, size, sizes, pairs, together, apart, kept, done, warn });
  const length = turnOf(run, done);
  const memory = memoryOf(plan.isInTurns ? apart : together, run, sizes);
  const { task, way } = plan.isInTurns
    ? {
        task: apart,
        way: `teacher and student in turns of ${length} batches, ${bytes(kept * length)} of answers kept${run.answers === "disk" ? " on disk" : ""}`,
      }
    : { task: together, way: `${bytes(memory.frozen)} of teacher in one graph with the student` };
  const total = plan.isInTurns ? plan.inTurns : plan.together;
  return {
    ...denoiserJob(run, base, o),
    task,
    part: partOf(student, files),
    memory: `at least ${bytes(total)} of memory: ${way}; ${memoryText(memory)}`,
  };
}
