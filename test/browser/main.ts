/** A page with nothing but the package, for tests that drive it from outside. */

import { WorkerPipeline } from "koala-diffusion/web";
import { compile } from "../../src/engine/compile.ts";
import { host } from "../../src/runtime/host.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { toFloat32 } from "../../src/tensor/tensor.ts";
import { type OpCase, opCases } from "../op-cases.ts";
import { instance, noWeights, relativeError } from "../op-instance.ts";

const start = (): WorkerPipeline =>
  new WorkerPipeline(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));

/** The largest error of every op's cases on an engine: of the value, and of the gradients; or what went wrong. */
async function opErrors(engineName: string): Promise<Record<string, [number, number] | string>> {
  const engine = await host.engine(engineName);
  const found: Record<string, [number, number] | string> = {};
  for (const [name, cases] of Object.entries(opCases)) {
    try {
      const all = await Promise.all(cases.map((c) => caseErrors(c)));
      found[name] = [0, 1].map((i) => Math.max(...all.map((pair) => pair[i] ?? 0))) as [number, number];
    } catch (error) {
      found[name] = error instanceof Error ? error.message : String(error);
    }
  }
  return found;

  async function caseErrors(c: OpCase): Promise<[number, number]> {
    const { feeds, outputs, expected } = instance(c);
    const program = await compile(outputs, { engine, store: noWeights, threads: 1 });
    const used = Object.fromEntries(Object.keys(program.inputs).map((key) => [key, feeds[key] as Tensor]));
    const results = await program.run(used);
    await program.dispose();
    const errors = expected.map(({ data }, i) => relativeError(toFloat32(results[`y${i}`] as Tensor), data));
    return [errors[0] ?? 0, Math.max(0, ...errors.slice(1))];
  }
}

Object.assign(globalThis, { koala: { start, opErrors } });
