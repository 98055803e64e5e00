/** From noise to latents: the network under guidance, driven by a sampler. */

import { KoalaError } from "../core/errors.ts";
import { guide, rescaleGuidance } from "../diffusion/guidance.ts";
import type { PlanStep, SampleStep } from "../diffusion/plan.ts";
import { sigmaOf } from "../diffusion/prediction.ts";
import type { Predict, Scheduler } from "../diffusion/scheduler.ts";
import type { Program } from "../engine/program.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { type Shape, size } from "../tensor/shape.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import type { Denoiser } from "./networks.ts";
import type { Request } from "./request.ts";
import { type Starter, startedPlan } from "./start.ts";

/** Whether the network runs twice a step. A network that is told the guidance scale (LCM) does not need it. */
export const isGuided = (request: Request, denoiser: Pick<Denoiser, "isToldGuidance">): boolean =>
  request.guidance > 1 && !denoiser.isToldGuidance;

/** Whether the request leaves guidance out at some noise levels. */
export const hasInterval = ({ guidanceFrom, guidanceUntil }: Request): boolean =>
  guidanceFrom !== undefined || guidanceUntil !== undefined;

/** Guidance in a limited interval of noise levels: Kynkäänniemi et al. 2024, arXiv:2404.07724, equation 6. */
export const isInInterval = ({ guidanceFrom, guidanceUntil }: Request, sigma: number): boolean =>
  sigma <= (guidanceFrom ?? Number.POSITIVE_INFINITY) && sigma > (guidanceUntil ?? 0);

type Conditions = Readonly<Record<string, Tensor>>;

export interface DenoiseOptions {
  readonly request: Request;
  readonly denoiser: Denoiser;
  readonly program: Program;
  readonly scheduler: Scheduler;
  readonly seed: number;
  /** Where x begins. */
  readonly starter: Starter;
  /** [1, L, h, w] */
  readonly latentShape: Shape;
  /**
   * What stays the same at every step, `text` and whatever else this denoiser reads, for each run of a step. Guided: one run of
   * [unconditional, conditional], or two runs of one each in this order.
   */
  readonly conditions: readonly Conditions[];
  /** Shown what the network is fed at each step. */
  watch?(feeds: Readonly<Record<string, Tensor>>): void;
  /** Shown the values of the taps that the program has beside its prediction. */
  hear?(values: Readonly<Record<string, Tensor>>): void;
  /** Names the first place where a step's numbers stop being finite. */
  blame(feeds: Readonly<Record<string, Tensor>>): Promise<string>;
}

const allFinite = (values: Float32Array): boolean => values.every(Number.isFinite);

/**
 * One picture's latents, step by step.
 * @throws KoalaError E_NAN with the tap where NaN or infinity first appears
 */
export async function* denoise(o: DenoiseOptions): AsyncGenerator<SampleStep> {
  const { request, denoiser, program, scheduler, latentShape } = o;
  const generator = new TorchGenerator(o.seed);
  const cells = size(latentShape);
  const [, channels = 0, ...sides] = latentShape;
  const plan = startedPlan(scheduler, request);
  const { x, keep, beside } = o.starter(plan, cells, generator);

  const guided = isGuided(request, denoiser);
  const conditional = o.conditions.at(-1) as Conditions;

  /** One run; `values` of taps are told of runs that see the prompt. */
  const run = async (scaled: Float32Array, step: PlanStep, conditions: Conditions): Promise<Float32Array> => {
    const batch = conditions.text?.shape[0] ?? 1;
    const read = cells + beside.length;
    const sample = new Float32Array(batch * read);
    for (let i = 0; i < batch; i++) {
      sample.set(scaled, i * read);
      sample.set(beside, i * read + cells);
    }
    const feeds = {
      ...conditions,
      sample: float32([batch, channels + denoiser.besideChannels, ...sides], sample),
      t_emb: denoiser.timeFeatures(step.timestep, batch),
    };
    o.watch?.(feeds);
    const { prediction, ...values } = await program.run(feeds);
    if (conditions === conditional) o.hear?.(values);
    const said = toFloat32(prediction as Tensor);
    if (allFinite(said)) return said;
    throw new KoalaError("E_NAN", {
      where: await o.blame(feeds),
      expected: `finite numbers at timestep ${step.timestep}`,
      got: "NaN or infinity",
      hint: "The weights may be damaged, or stored in float16 where they need float32.",
    });
  };

  const predict: Predict = async (scaled, step) => {
    const isInTurns = o.conditions.length > 1;
    if (!guided || (isInTurns && !isInInterval(request, sigmaOf(step.at))))
      return run(scaled, step, conditional);
    const first = await run(scaled, step, o.conditions[0] as Conditions);
    const [without, said] = isInTurns
      ? [first, await run(scaled, step, conditional)]
      : [first.subarray(0, cells), first.subarray(cells)];
    const result = guide(without, said, request.guidance);
    return request.guidanceRescale > 0 ? rescaleGuidance(result, said, request.guidanceRescale, 1) : result;
  };

  yield* scheduler.sample(predict, x, plan, () => generator.randn(cells), keep);
}
