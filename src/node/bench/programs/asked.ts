/** What the programs here share: what they were asked, as JSON in their one argument, and how they answer. */

import { host } from "../../../runtime/host.ts";
import type { Engine } from "../../../runtime/session.ts";
import { size } from "../../../tensor/shape.ts";
import { float32, type Tensor } from "../../../tensor/tensor.ts";

export interface Asked {
  readonly model: string;
  readonly engine: string;
  readonly precision: "f32" | "bf16";
  readonly threads: number;
  /** Pixels a side. */
  readonly size: number;
  readonly steps: number;
}

export const asked = <T extends object>(): Asked & T => JSON.parse(process.argv[2] ?? "{}") as Asked & T;

/** Since before this process was started, as `runChild` tells it. */
export const sinceStart = (): number => Date.now() / 1000 - Number(process.env.BENCH_START);

export const answer = (numbers: Readonly<Record<string, unknown>>): void =>
  void process.stdout.write(`${JSON.stringify(numbers)}\n`);

export const engineOf = ({ engine }: Asked): Promise<Engine> => host.engine(engine);

/** Numbers of no meaning in −1 to 1. */
export function wave({ dtype, shape }: Pick<Tensor, "dtype" | "shape">): Tensor {
  if (dtype !== "float32") return { dtype, shape, data: new BigInt64Array(size(shape)) };
  return float32(
    shape,
    Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(i)),
  );
}

/** Runs `run` that many times: when the first ended, and the seconds of each of the others, by the clock and of processors. */
export async function timed(
  run: () => Promise<unknown>,
  steps: number,
): Promise<{ readonly first: number; readonly steps: readonly number[]; readonly cpu: readonly number[] }> {
  const times: number[] = [];
  const cpu: number[] = [];
  let first = 0;
  for (let i = 0; i < steps; i++) {
    const startMs = performance.now();
    const before = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(before);
    if (i === 0) first = sinceStart();
    else {
      times.push((performance.now() - startMs) / 1000);
      cpu.push((user + system) / 1e6);
    }
  }
  return { first, steps: times, cpu };
}
