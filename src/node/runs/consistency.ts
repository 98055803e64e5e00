/** Runs of students that learn to draw in few steps: from a teacher's folder to the task, and to a folder that draws so. */

import { check } from "../../core/assert.ts";
import { jsonObject } from "../../models/config.ts";
import { USE_RECORD } from "../../models/detect.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { vaeFactor } from "../../models/vae.ts";
import type { StoredTensor, TensorStore } from "../../tensor/stored.ts";
import { float32 } from "../../tensor/tensor.ts";
import type { ConsistencyRun } from "../../train/config.ts";
import { type ConsistencyMethod, checkEnds, type PathOptions } from "../../train/consistency/path.ts";
import type { CaptionStates } from "../../train/data/encode.ts";
import { loraLearner, wholeLearner } from "../../train/learner.ts";
import { unetNetwork } from "../../train/networks/unet.ts";
import { consistencyTask, TEACHER } from "../../train/tasks/consistency.ts";
import { unionStore } from "../../weights/stores.ts";
import { adaptedResult, checkLora, loraOf, notLora } from "./adapted.ts";
import {
  type Base,
  checkReads,
  denoiserJob,
  latentsOf,
  noiseOf,
  openBase,
  partOf,
  resolved,
  sizeOf,
} from "./denoisers.ts";
import { type Student, studentOf } from "./distillations.ts";
import { type Job, type JobOptions, memoryLine, memoryOf, sizesOf } from "./job.ts";
import { absolute, type NewPart } from "./model-folder.ts";

interface Usual {
  readonly grid: number;
  readonly guidanceFrom: number;
  readonly guidanceTo: number;
  readonly adversarialWeight: number;
}

/** What fields are that a run leaves open. Guidance is the w of the sources, and one more. */
const usual: Readonly<Record<ConsistencyMethod, Usual>> = {
  // G-U-N/Phased-Consistency-Model at b127277, train_pcm_lora_sdxl.sh
  pcm: { grid: 40, guidanceFrom: 7, guidanceTo: 8, adversarialWeight: 0.1 },
  // diffusers' train_lcm_distill_sdxl_wds.py
  lcm: { grid: 50, guidanceFrom: 4, guidanceTo: 16, adversarialWeight: 0 },
};

/** Width of the features of the guidance: `unet_time_cond_proj_dim` of diffusers' script. */
const GUIDANCE_CHANNELS = 256;

type Filled = ConsistencyRun & Usual;

/** @throws KoalaError E_CONFIG for fields that contradict each other */
function filled(given: ConsistencyRun, base: Base): Filled {
  const run: Filled = {
    ...usual[given.method],
    ...(base.network.name === "unet" ? {} : { adversarialWeight: 0 }),
    ...{ ...resolved(given, base), teacher: absolute(given.teacher) },
    ...(given.student === undefined ? {} : { student: absolute(given.student) }),
  };
  check(run.guidanceFrom <= run.guidanceTo, "E_CONFIG", () => ({
    where: "guidanceFrom",
    expected: `at most guidanceTo, ${run.guidanceTo}`,
    got: `${run.guidanceFrom}`,
  }));
  check(run.method === "pcm" || run.adversarialWeight === 0, "E_CONFIG", () => ({
    where: "adversarialWeight",
    expected: "0 with lcm, which has no phases for an adversary to look at",
    got: `${run.adversarialWeight}`,
  }));
  const { name, title } = base.network;
  check(name === "unet" || run.adversarialWeight === 0, "E_CONFIG", () => ({
    where: "adversarialWeight",
    expected: `0 with a ${title}, since the adversary looks at features of a U-Net`,
    got: `${run.adversarialWeight}`,
  }));
  const isWhole = run.method === "lcm" && run.lora === undefined;
  check(!run.guidanceInput || (isWhole && name === "unet"), "E_CONFIG", () => ({
    where: "guidanceInput",
    expected: "lcm on whole weights, whose U-Net gets a layer for the guidance",
    got: !isWhole ? (run.method === "lcm" ? "a LoRA" : "pcm") : `a ${title}`,
  }));
  return run;
}

/** Where the student begins. @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_FILE */
async function beginning(run: Filled, base: Base, o: JobOptions): Promise<Student> {
  const { teacher, student } = run;
  const own: Student =
    student === undefined
      ? { network: base.network, plan: null, files: {} }
      : await studentOf({ teacher, student }, base, o.open);
  checkReads("student", own.network, base);
  return run.guidanceInput ? withGuidance(own) : own;
}

/** The same U-Net with a layer that is told the guidance, of zeros: it begins as it was. */
function withGuidance(own: Student): Student {
  const { json, store } = own.network;
  const config = { ...json, time_cond_proj_dim: GUIDANCE_CHANNELS };
  const parsed = unetConfig(config, "student (config.json)");
  const { parameters } = buildUNet(parsed, { batch: 1, height: 8, width: 8, tokens: 1 });
  const fresh = [...parameters].filter(([name]) => !store.tensors.has(name));
  const zeros: TensorStore = {
    tensors: new Map(
      fresh.map(([name, { value }]): [string, StoredTensor] => [
        name,
        { dtype: "float32", shape: value.shape, file: null, offset: 0, byteLength: 0 },
      ]),
    ),
    read: async (name) => {
      const shape = parameters.get(name)?.value.shape ?? [];
      return float32(shape, new Float32Array(shape.reduce((n, d) => n * d, 1)));
    },
  };
  const all = unionStore([store, zeros], "student");
  return { ...own, network: unetNetwork(config, all, "student (config.json)") };
}

/** @throws KoalaError E_CONFIG, E_MODEL, E_WEIGHTS, E_FILE */
export async function consistencyJob(given: ConsistencyRun, o: JobOptions): Promise<Job> {
  const base = await openBase(given.teacher, o.open, o.warn);
  const run = filled(given, base);
  const { network: student, files } = await beginning(run, base, o);
  const size = sizeOf(run, base, o);
  const lora = loraOf(run, student);
  // a LoRA on the teacher's own weights reads them where the teacher does
  const prefix = run.student === undefined ? TEACHER : "student.";
  let empty: CaptionStates | null = null;
  const path: PathOptions = { ...noiseOf(base), method: run.method, grid: run.grid, phases: run.phases };
  const task = consistencyTask({
    ...{ teacher: base.network, student, size },
    accumulate: run.accumulate,
    learner: lora === undefined ? wholeLearner(student.store) : loraLearner(student.store, prefix, lora),
    path,
    data: latentsOf(run, base, student, o),
    empty: async () => empty as CaptionStates,
    guidance: [run.guidanceFrom, run.guidanceTo],
    ...{ loss: run.loss, huberC: run.huberC },
    isJudgedByAverage: run.method === "lcm" && run.ema > 0,
    adversary:
      run.adversarialWeight === 0 ? null : { weight: run.adversarialWeight, rate: run.adversarialRate },
  });
  if (run.method === "pcm") checkEnds(path);
  checkLora(task.weights, run, student);
  const adapted = lora === undefined ? null : adaptedResult(student, student.store);
  const recorded = fewSteps(run, base);
  return {
    ...denoiserJob(run, base, o),
    ...adapted,
    task,
    part: partOf(student, files, adapted === null ? {} : { holds: notLora }),
    memory: memoryLine(
      memoryOf(task, run, sizesOf(run, vaeFactor(base.vae.config))),
      task.rival === undefined ? "teacher" : "teacher, for the student and for its adversary",
    ),
    async begin(data) {
      empty = await data.learned.caption("");
      return [...((await adapted?.begin?.(data)) ?? []), ...recorded];
    },
  };
}

const nothing = /(?!)/;

/** Scheduler and index of the result: the class that draws as was learned, its steps, and no guidance on top. */
function fewSteps(run: Filled, base: Base): NewPart[] {
  const { model, prediction } = base;
  const old = jsonObject(model.scheduler, model.schedulerPath);
  const index = jsonObject(model.index, "model_index.json");
  const className = run.method === "lcm" ? "LCMScheduler" : "DDIMScheduler";
  const own =
    run.method === "lcm"
      ? { original_inference_steps: run.grid, timestep_scaling: 10 }
      : // the ends of the phases, and the level where the first one ends
        { timestep_spacing: "trailing", set_alpha_to_one: false, steps_offset: 0 };
  const scheduler = {
    _class_name: className,
    ...(old._diffusers_version === undefined ? {} : { _diffusers_version: old._diffusers_version }),
    // DDPMScheduler's, as `trainingNoise` reads a file without them
    num_train_timesteps: old.num_train_timesteps ?? 1000,
    beta_start: old.beta_start ?? 0.0001,
    beta_end: old.beta_end ?? 0.02,
    beta_schedule: old.beta_schedule ?? "linear",
    trained_betas: old.trained_betas ?? null,
    rescale_betas_zero_snr: old.rescale_betas_zero_snr ?? false,
    prediction_type: prediction,
    clip_sample: false,
    ...own,
  };
  const guidance = run.guidanceInput ? (run.guidanceFrom + run.guidanceTo) / 2 : 1;
  const use = { steps: run.phases, guidance };
  return [
    { name: "scheduler", files: { "scheduler_config.json": scheduler }, holds: nothing },
    {
      name: "",
      files: {
        "model_index.json": { ...index, scheduler: ["diffusers", className], [USE_RECORD]: use },
      },
      holds: nothing,
    },
  ];
}
