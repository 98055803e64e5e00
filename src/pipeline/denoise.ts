/** From noise to latents: the network under guidance, driven by a sampler. */

import { check } from "../core/assert.ts";
import { guide, rescaleGuidance } from "../diffusion/guidance.ts";
import type { SampleStep } from "../diffusion/plan.ts";
import type { Predict, Scheduler } from "../diffusion/scheduler.ts";
import type { Program } from "../engine/program.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { type Shape, size } from "../tensor/shape.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import type { Denoiser } from "./networks.ts";
import type { Request } from "./request.ts";

/** Whether the network runs twice a step. A network that is told the guidance scale (LCM) does not need it. */
export const isGuided = (request: Request, denoiser: Denoiser): boolean =>
  request.guidance > 1 && !denoiser.isToldGuidance;

export interface DenoiseOptions {
  readonly request: Request;
  readonly denoiser: Denoiser;
  readonly program: Program;
  readonly scheduler: Scheduler;
  readonly seed: number;
  /** [1, L, h, w] */
  readonly latentShape: Shape;
  /** What stays the same at every step: `text` and whatever else this denoiser reads; guided: [unconditional, conditional]. */
  readonly conditions: Readonly<Record<string, Tensor>>;
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
  const plan = scheduler.plan(request.steps);
  const x = generator.randn(cells).map((v) => v * plan.initNoiseSigma);

  const guided = isGuided(request, denoiser);
  const batch = guided ? 2 : 1;

  const predict: Predict = async (scaled, step) => {
    const sample = new Float32Array(batch * cells);
    for (let i = 0; i < batch; i++) sample.set(scaled, i * cells);
    const feeds = {
      ...o.conditions,
      sample: float32([batch, ...latentShape.slice(1)], sample),
      t_emb: denoiser.timeFeatures(step.timestep, batch),
    };
    o.watch?.(feeds);
    const { prediction, ...values } = await program.run(feeds);
    o.hear?.(values);
    const said = toFloat32(prediction as Tensor);
    if (!allFinite(said)) {
      const where = await o.blame(feeds);
      check(false, "E_NAN", () => ({
        where,
        expected: `finite numbers at timestep ${step.timestep}`,
        got: "NaN or infinity",
        hint: "The weights may be damaged, or stored in float16 where they need float32.",
      }));
    }
    if (!guided) return said;
    const [unconditional, conditional] = [said.subarray(0, cells), said.subarray(cells)];
    const result = guide(unconditional, conditional, request.guidance);
    return request.guidanceRescale > 0
      ? rescaleGuidance(result, conditional, request.guidanceRescale, 1)
      : result;
  };

  yield* scheduler.sample(predict, x, plan, () => generator.randn(cells));
}
