import { describe, expect, it } from "vitest";
import { compile } from "../engine/compile.ts";
import { ortEngine } from "../node/ort-node.ts";
import { input } from "../ops/index.ts";
import { fastGenerator } from "../tensor/random.ts";
import { castFloat, float32, toFloat32 } from "../tensor/tensor.ts";
import { ditheredFloat16, ditherOf } from "./dither.ts";
import { noStore, scalarTensor } from "./flat.ts";

const n = 2048;
const x = input("x", { shape: [n] });
const program = await compile(
  { y: ditheredFloat16(x, input("dither", { shape: [] })) },
  { engine: ortEngine(), store: noStore, threads: 1 },
);

/** Of all sizes that a float16 has, least and zero among them, powers of two exactly. */
const values = new Float32Array(n);
fastGenerator(1, "dither").normal(values, 1);
for (let i = 0; i < n; i++) values[i] = (values[i] ?? 0) * 2 ** ((i % 38) - 24);
values.set([0, 2 ** -24, -(2 ** -14), 1, -2, 1024, 1.5 * 2 ** -24, -0.3 * 2 ** -24]);

const rounded = async (dither: number): Promise<Float32Array> => {
  const { y } = await program.run({ x: float32([n], values), dither: scalarTensor(dither) });
  expect(y?.dtype).toBe("float16");
  return toFloat32(y ?? float32([], [0]));
};

describe("dithered float16", () => {
  it("is one of the two neighbours, and a value that fits exactly is itself", async () => {
    const nearest = toFloat32(castFloat(float32([n], values), "float16"));
    for (const dither of [0, 0.25, 0.999]) {
      const y = await rounded(dither);
      for (let i = 0; i < n; i++) {
        const v = values[i] ?? 0;
        const unit = Math.max(2 ** (Math.floor(Math.log2(Math.abs(v))) - 10), 2 ** -24);
        expect(Math.abs((y[i] ?? 0) - v), `${v}`).toBeLessThan(1.001 * unit);
        if (nearest[i] === v) expect(y[i], `${v}`).toBe(v);
      }
    }
  });

  it("is right on average over steps", async () => {
    const steps = 500;
    const sums = new Float64Array(n);
    for (let step = 1; step <= steps; step++)
      for (const [i, y] of (await rounded(ditherOf(step))).entries()) sums[i] = (sums[i] ?? 0) + y;
    for (const [i, sum] of sums.entries()) {
      const v = values[i] ?? 0;
      const unit = Math.max(2 ** (Math.floor(Math.log2(Math.abs(v))) - 10), 2 ** -24);
      expect(Math.abs(sum / steps - v), `${v}`).toBeLessThan(0.02 * unit); // to the nearest it would be up to 0.5
    }
  });
});
