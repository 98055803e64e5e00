/**
 * Every field of every kind of training run with its bounds, unit, default and description: the one place where defaults
 * of training live. Fields without a default are the model's (resolution, how samples are drawn) or switch something off.
 */

import { z } from "zod";
import { consistencyMethods } from "./consistency/path.ts";
import { type LayerMap, layerMaps } from "./distill/layers.ts";
import { averageDtypes } from "./ema.ts";
import { loraTargets } from "./lora.ts";

/** What is trained: a U-Net or a transformer on its own, a student by its teacher, one of few steps, an autoencoder, or CLIP's two encoders. */
export const runKinds = ["unet", "transformer", "distill", "consistency", "vae", "clip"] as const;
export type RunKind = (typeof runKinds)[number];

export const optimizerNames = ["adamw", "adam16bit", "adam8bit", "adafactor", "muon", "sgd"] as const;
export type OptimizerName = (typeof optimizerNames)[number];

/** What forward and backward may be computed in. */
export const trainingPrecisions = ["f32", "bf16"] as const;

/** What becomes of the scale of latents: that of the model, or measured when all is learned. */
export const latentScales = ["keep", "measure"] as const;
export type LatentScale = (typeof latentScales)[number];

/** Where a teacher's answers wait for the student that takes turns with it. */
export const answerPlaces = ["memory", "disk"] as const;
export type AnswerPlace = (typeof answerPlaces)[number];

const path = z.string().min(1).max(4096);
const whole = (least: number, most: number) => z.int().min(least).max(most);
const many = 100_000_000;
/** The longest run. */
export const mostSteps: number = many;

const common = {
  data: z
    .array(path)
    .min(1)
    .meta({ description: "what to learn from: folders of pictures, parquet or tar files", argument: "PATH" }),
  group: z.string().min(1).optional().meta({ description: "field to balance drawing by", argument: "NAME" }),
  cache: path.optional().meta({
    description: "folder of what is computed once for the data (default: in the run's own)",
    argument: "DIR",
  }),
  resolution: whole(8, 4096).optional().meta({ description: "side of the square to train on", unit: "px" }),
  crop: z
    .enum(["center", "random"])
    .default("center")
    .meta({ description: "what stays of a picture that is no square" }),
  flips: z.boolean().default(false).meta({
    description: "mirror half of what is seen; at least 2 views are then kept, but for a VAE",
  }),
  views: whole(1, 64).default(1).meta({ description: "crops that are kept of each picture" }),
  minSide: whole(1, 65_536).optional().meta({
    description: "leave out pictures whose shorter side is below (default: half the resolution)",
    unit: "px",
  }),
  background: z
    .string()
    .min(1)
    .default("white")
    .meta({ description: "colour that transparent pictures lie on", argument: "COLOUR" }),
  steps: whole(1, mostSteps).default(1000).meta({ description: "steps of the whole run" }),
  batch: whole(1, 65_536).default(8).meta({ description: "pictures that run through the network together" }),
  accumulate: whole(1, 65_536).default(1).meta({ description: "batches whose gradients make one step" }),
  optimizer: z.enum(optimizerNames).default("adamw").meta({ description: "how weights move" }),
  // diffusers' train_text_to_image_sdxl.py: 1e-4, constant, decay 0.01, norm 1
  rate: z.number().positive().max(1).default(1e-4).meta({ description: "highest learning rate" }),
  schedule: z
    .enum(["constant", "linear", "cosine"])
    .default("constant")
    .meta({ description: "how the learning rate falls after its warm-up" }),
  warmup: whole(0, many).default(0).meta({ description: "steps over which the learning rate rises" }),
  weightDecay: z.number().min(0).max(1).default(0.01).meta({ description: "how much weights shrink" }),
  maxNorm: z
    .number()
    .min(0)
    .max(1e6)
    .default(1)
    .meta({ description: "norm that gradients are clipped to; 0: none" }),
  ema: z
    .number()
    .min(0)
    .lt(1)
    .default(0.999)
    .meta({ description: "highest decay of the average of the weights, which is the result; 0: no average" }),
  recompute: z
    .array(z.string().min(1))
    .default([])
    .meta({ description: "taps to cut the network at: less memory, more time", argument: "TAP" }),
  seed: whole(0, 4_294_967_295).default(0).meta({ description: "of all that is random" }),
  checkpointEvery: whole(1, many).default(500).meta({ description: "steps between checkpoints" }),
  keep: whole(1, 1000).default(2).meta({ description: "newest checkpoints to keep" }),
  sampleEvery: whole(0, many).default(500).meta({ description: "steps between sheets of samples; 0: none" }),
  sampleCount: whole(1, 64).default(8).meta({ description: "pictures on a sheet of samples" }),
  dtype: z
    .enum(["float16", "float32"])
    .default("float16")
    .meta({ description: "how the weights of the result are stored" }),
  engine: z.string().min(1).default("auto").meta({ description: "what computes", argument: "NAME" }),
  precision: z.enum(trainingPrecisions).default("f32").meta({
    description: "what forward and backward compute in; weights, moments and average stay f32",
  }),
  threads: whole(1, 1024).optional().meta({ description: "threads that compute (default: one a core)" }),
};

const captions = z.array(z.string().min(1)).min(1).optional().meta({
  description: "fields of the data that hold captions, in the order to be tried",
  argument: "NAME",
});

// Ho and Salimans 2022, arXiv:2207.12598: 0.1
const emptyCaptions = z
  .number()
  .min(0)
  .max(1)
  .default(0.1)
  .meta({ description: "share of pictures learned without a caption, for guidance" });

const prompted = {
  captions,
  buckets: z.boolean().default(false).meta({
    description: "keep the aspect of pictures: several sizes of about the same area, one a batch",
  }),
  bucketPrograms: whole(1, 64).default(8).meta({
    description: "sizes whose compiled programs stay in memory, with buckets",
  }),
  emptyCaptions,
  prompts: z
    .array(z.string().max(10_000))
    .min(1)
    .max(64)
    .optional()
    .meta({ description: "what samples show (default: captions of the data)", argument: "TEXT" }),
  sampleSteps: whole(1, 1000)
    .optional()
    .meta({ description: "denoising steps of samples (default: the model's)" }),
  sampleGuidance: z
    .number()
    .min(0)
    .max(50)
    .optional()
    .meta({ description: "guidance of samples (default: the model's)" }),
};

const denoising = {
  ...prompted,
  weighting: z.enum(["min-snr", "debiased"]).default("min-snr").meta({
    description:
      "what steps of noise count: debiased, by which subjects are learned sooner, favours much noise",
  }),
  // Hang et al. 2023, arXiv:2303.09556, section 3.4: γ = 5
  minSnr: z
    .number()
    .min(0)
    .max(1000)
    .default(5)
    .meta({ description: "with min-snr, the most signal to noise that counts; 0: all steps weigh the same" }),
  noiseOffset: z.number().min(0).max(1).default(0).meta({ description: "noise added to whole channels" }),
  emaDtype: z
    .enum(averageDtypes)
    .default("float32")
    .meta({ description: "how the average of the weights is kept while they learn" }),
};

const lora = whole(1, 1024).optional().meta({
  description: "rank of low-rank additions (LoRA) that learn in place of the weights",
  argument: "RANK",
});
const targets = z.array(z.string().min(1)).min(1);
const targetsMeta = {
  description: `layers that get them: some of ${loraTargets.join(", ")}`,
  argument: "WHICH",
};
const guidanceBound = z.number().min(1).max(50).optional();

const weight = z.number().min(0).max(1e6).default(1);
const model = path.meta({ description: "model folder or hub id to begin with", argument: "MODEL" });
/** Of a denoiser that learns from the data alone. */
const learning = {
  fresh: z.boolean().default(false).meta({ description: "begin with random weights, not with the model's" }),
  lora,
  // diffusers' train_text_to_image_lora_sdxl.py
  loraTargets: targets.default(["attention"]).meta(targetsMeta),
  ...common,
  ...denoising,
};

/** By kind of run. */
export const kinds: { readonly [K in RunKind]: Readonly<Record<string, z.ZodType>> } = {
  unet: {
    kind: z.literal("unet"),
    model,
    unet: path.optional().meta({
      description: "config.json of a U-Net of another shape, with random weights",
      argument: "FILE",
    }),
    ...learning,
  },
  transformer: {
    kind: z.literal("transformer"),
    model,
    transformer: path.optional().meta({
      description: "config.json of a transformer of another shape, with random weights",
      argument: "FILE",
    }),
    ...learning,
  },
  distill: {
    kind: z.literal("distill"),
    teacher: path.meta({ description: "model folder or hub id to learn from", argument: "MODEL" }),
    student: path.meta({
      description: "rule to cut the student by, or the folder of one that was cut",
      argument: "NAME|DIR",
    }),
    ...common,
    ...denoising,
    features: z.string().min(1).default("koala").meta({
      description:
        "features to learn: koala, bk-sdm, all, or such as SA,LF:DW-1+UP-3 (a transformer has thirds, TX-1 to TX-3)",
      argument: "WHICH",
    }),
    map: z
      .enum(layerMaps as [LayerMap, ...LayerMap[]])
      .optional()
      .meta({ description: "which of the teacher's blocks each block learns from (default: as it was cut)" }),
    taskWeight: weight.meta({ description: "weight of the difference to the noise" }),
    outputWeight: weight.meta({ description: "weight of the difference to the teacher's prediction" }),
    featureWeight: weight.meta({ description: "weight of the features together" }),
    detail: z
      .enum(["total", "stage", "pair"])
      .default("stage")
      .meta({ description: "how finely the log tells the features" }),
    memory: z
      .string()
      .regex(/^\d+(\.\d+)? ?[kMGT]?B$/)
      .optional()
      .meta({ description: "most memory to plan for, such as 12GB; teacher and student then take turns" }),
    turn: whole(1, 1_000_000)
      .default(16)
      .meta({ description: "batches between two turns of the teacher, rounded up to whole steps" }),
    answers: z
      .enum(answerPlaces)
      .default("memory")
      .meta({ description: "where the teacher's answers wait between its turns, in 16 bits" }),
  },
  consistency: {
    kind: z.literal("consistency"),
    method: z
      .enum(consistencyMethods)
      .meta({ description: "phased consistency (pcm), or latent consistency (lcm)" }),
    teacher: path.meta({ description: "model folder or hub id to learn from", argument: "MODEL" }),
    student: path.optional().meta({
      description: "rule to cut the student by, or the folder of one (default: it begins as the teacher)",
      argument: "NAME|DIR",
    }),
    lora,
    loraTargets: targets.default([...loraTargets]).meta(targetsMeta),
    ...common,
    // G-U-N/Phased-Consistency-Model at b127277: 2e-6, no decay
    rate: common.rate.default(2e-6),
    weightDecay: common.weightDecay.default(0),
    // diffusers' train_lcm_distill_sdxl_wds.py: 0.95
    ema: common.ema.default(0.95).meta({
      description: "highest decay of the average of the weights, the result and LCM's target; 0: no average",
    }),
    ...prompted,
    emptyCaptions: emptyCaptions.default(0),
    grid: whole(2, 1000)
      .optional()
      .meta({ description: "steps of the teacher's solver from noise to picture (default: pcm 40, lcm 50)" }),
    phases: whole(1, 1000).default(4).meta({
      description: "parts of the way, and steps that the result takes; lcm has one part, and the steps",
    }),
    guidanceFrom: guidanceBound.meta({
      description: "least guidance of the teacher, w + 1 of the papers (default: pcm 7, lcm 4)",
    }),
    guidanceTo: guidanceBound.meta({
      description: "most guidance of the teacher (default: pcm 8, lcm 16)",
    }),
    guidanceInput: z.boolean().default(false).meta({
      description: "tell the student the guidance, so that it can be chosen when it draws (lcm)",
    }),
    loss: z
      .enum(["huber", "l2"])
      .default("huber")
      .meta({ description: "how the difference of two answers counts" }),
    huberC: z
      .number()
      .positive()
      .max(1)
      .default(0.001)
      .meta({ description: "difference below which huber's loss is squared" }),
    adversarialWeight: z.number().min(0).max(1e6).optional().meta({
      description: "weight of the adversarial term; 0: no adversary (default: pcm of a U-Net 0.1, else 0)",
    }),
    adversarialRate: z
      .number()
      .positive()
      .max(1)
      .default(1e-5)
      .meta({ description: "learning rate of the adversary" }),
  },
  vae: {
    kind: z.literal("vae"),
    model: path.optional().meta({
      description: "folder or hub id of a model, or of a VAE alone, to begin with",
      argument: "MODEL",
    }),
    vae: path.optional().meta({
      description: "config.json of a VAE of another shape, or of no model, with random weights",
      argument: "FILE",
    }),
    fresh: z
      .boolean()
      .default(false)
      .meta({ description: "begin with random weights, not with the model's" }),
    ...common,
    heldOut: z
      .array(path)
      .min(1)
      .optional()
      .meta({ description: "pictures to measure by, which are never learned", argument: "PATH" }),
    patch: whole(8, 4096).optional().meta({
      description: "side of the square that each step sees of a picture (default: all of it)",
      unit: "px",
    }),
    decoderOnly: z
      .boolean()
      .default(false)
      .meta({ description: "leave the encoder as it is, and so the latents that a U-Net knows" }),
    latents: z.enum(latentScales).optional().meta({
      description: "scale of latents in the result (default: measure for random weights, else keep)",
    }),
    // e⁻⁷ is a deviation of 0.03: larger noise hides the picture, and the decoder first learns to paint its mean
    logVariance: z
      .number()
      .min(-30)
      .max(0)
      .default(-7)
      .meta({ description: "log-variance of the latents that random weights begin with" }),
    l1Weight: weight.meta({ description: "weight of the difference to the picture" }),
    l2Weight: weight.default(0).meta({ description: "weight of the squared difference to the picture" }),
    edgeWeight: weight.meta({ description: "weight of the difference of edges, at four sizes" }),
    // of the mean over latents: the deviation of a latent that is worth its bits stays near a hundredth of its range
    klWeight: weight.default(1e-3).meta({ description: "weight of the divergence from a standard normal" }),
  },
  clip: {
    kind: z.literal("clip"),
    model: path
      .optional()
      .meta({ description: "CLIPModel folder or hub id to begin with", argument: "MODEL" }),
    clip: path.optional().meta({
      description: "config.json of a new CLIPModel, with random weights",
      argument: "FILE",
    }),
    fresh: z
      .boolean()
      .default(false)
      .meta({ description: "begin with random weights, not with the model's" }),
    ...common,
    captions,
    tokenizer: path.optional().meta({
      description: "folder of a tokenizer (default: the model's, or one that is learned from the captions)",
      argument: "DIR",
    }),
    heldOut: z
      .array(path)
      .min(1)
      .optional()
      .meta({ description: "pictures to measure by, which are never learned", argument: "PATH" }),
    // OpenCLIP's `AugmentationCfg`: at least 0.9 of the area
    leastCrop: z
      .number()
      .min(0.1)
      .max(1)
      .default(0.95)
      .meta({ description: "least share of a picture's sides that each step sees; 1: all of it" }),
  },
};
