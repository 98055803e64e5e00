import { expect, test } from "vitest";
import type { Precision } from "../runtime/session.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { guarded } from "./guarded.ts";
import type { Program } from "./program.ts";

const type = { dtype: "float32", shape: [1] } as const;

/** A network that yields `values` by precision, and what happens to it. */
function network(values: Readonly<Record<Precision, number>>) {
  const log: string[] = [];
  const compileIn = async (precision: Precision): Promise<Program> => {
    log.push(`compile ${precision}`);
    return {
      inputs: { x: type },
      outputs: { y: type },
      async run(): Promise<Record<string, Tensor>> {
        log.push(`run ${precision}`);
        return { y: float32([1], [values[precision]]) };
      },
      async dispose() {
        log.push(`free ${precision}`);
      },
    };
  };
  return { log, compileIn, onFallback: () => log.push("told") };
}

test("what stays finite stays in its precision", async () => {
  const net = network({ bf16: 1, f32: 2 });
  const made = await guarded({ ...net, precision: "bf16" });
  expect((await made.run({})).y?.data[0]).toBe(1);
  expect((await made.run({})).y?.data[0]).toBe(1);
  expect(net.log).toEqual(["compile bf16", "run bf16", "run bf16"]);
});

test("what does not is done again in float32, from then on, and is told once", async () => {
  const net = network({ bf16: Number.POSITIVE_INFINITY, f32: 2 });
  const made = await guarded({ ...net, precision: "bf16" });
  expect((await made.run({})).y?.data[0]).toBe(2);
  expect((await made.run({})).y?.data[0]).toBe(2);
  await made.dispose();
  expect(net.log).toEqual([
    ...["compile bf16", "run bf16", "told", "free bf16", "compile f32", "run f32", "run f32", "free f32"],
  ]);
});

test("NaN in float32 too is the result", async () => {
  const net = network({ bf16: Number.NaN, f32: Number.NaN });
  const made = await guarded({ ...net, precision: "bf16" });
  expect((await made.run({})).y?.data[0]).toBeNaN();
  expect((await made.run({})).y?.data[0]).toBeNaN();
  expect(net.log.filter((line) => line === "told")).toEqual(["told"]);
});

test("float32 needs no guard", async () => {
  const net = network({ bf16: 1, f32: Number.NaN });
  const made = await guarded({ ...net, precision: "f32" });
  expect((await made.run({})).y?.data[0]).toBeNaN();
  expect(net.log).toEqual(["compile f32", "run f32"]);
});
