/** How long each stage of a denoiser takes in one forward: each is compiled, run and freed alone. */

import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import { stageOf } from "../models/census.ts";
import { hoist } from "../passes/hoist.ts";
import { stageGraphs } from "../passes/stages.ts";
import { size } from "../tensor/shape.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import type { Model } from "./model.ts";
import { stepInputs } from "./plan-request.ts";

export interface StageTimesOptions {
  readonly signal?: AbortSignal;
  /** After each stage. */
  onStage?(done: number, stages: number): Promise<void> | void;
}

/** Runs that count; the first one does not, since engines lay out their memory in it. */
const RUNS = 3;

/** Numbers of a latent's size; which ones makes no difference to the time. */
const filled = (program: Program): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(program.inputs).map(([name, { shape }]) => [
      name,
      float32(
        shape,
        Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(i)),
      ),
    ]),
  );

/** Seconds by stage, the fastest of some runs; what a prompt's keys and values take is left out, since it runs once. */
export async function stageTimes(
  { denoiser, texts, vae: { factor } }: Model,
  pixels: { readonly width: number; readonly height: number },
  compile: (outputs: Readonly<Record<string, Value>>) => Promise<Program>,
  o: StageTimesOptions,
): Promise<Record<string, number>> {
  const tokens = texts[0]?.tokenizer.maxLength ?? 1;
  const cells = { height: pixels.height / factor, width: pixels.width / factor };
  const outputs = denoiser.graph({ batch: 1, ...cells, tokens });
  const graphs = [...stageGraphs(hoist(outputs, new Set(stepInputs)).rest, stageOf)];
  const times: Record<string, number> = {};
  for (const [i, [stage, graph]] of graphs.entries()) {
    o.signal?.throwIfAborted();
    const program = await compile(graph);
    try {
      const feeds = filled(program);
      await program.run(feeds);
      for (let run = 0; run < RUNS; run++) {
        const start = performance.now();
        await program.run(feeds);
        times[stage] = Math.min(times[stage] ?? Number.POSITIVE_INFINITY, (performance.now() - start) / 1000);
      }
    } finally {
      await program.dispose();
    }
    await o.onStage?.(i + 1, graphs.length);
  }
  return times;
}
