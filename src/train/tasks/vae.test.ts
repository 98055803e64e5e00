/** What an autoencoder is trained by: its loss and gradients against PyTorch, its patches, its latents' scale. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson } from "../../../test/golden.ts";
import { engine, filledStore, projections, rootMeanSquare } from "../../../test/training-tasks.ts";
import { interpret } from "../../graph/interpret.ts";
import type { Picture } from "../../image/pixels.ts";
import { vaeConfig } from "../../models/vae.ts";
import { constant } from "../../ops/index.ts";
import { fastGenerator } from "../../tensor/random.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { layOut, makeArena } from "../arena.ts";
import { totalOf } from "../segments.ts";
import { gradientProgram } from "../step.ts";
import { freshVae, momentsBias, patches, vaeParameters, vaeTask } from "./vae.ts";
import { edgeError, vaeTerms } from "./vae-loss.ts";
import { LatentSums, psnr, scaled, vaeMeter } from "./vae-measure.ts";

const golden = goldenJson("autoencoder.json");
const config = vaeConfig(goldenJson("vae/sd/config.json"));
const filled = (name: string, ...shape: number[]): Tensor => float32(shape, fill(name, shape));
const pictures = filled("input.picture", 2, 3, golden.size, golden.size);
const loader = { at: async () => ({ pictures }) as never };
const taskOf = (o: Partial<Parameters<typeof vaeTask>[0]> = {}) =>
  vaeTask({
    ...{ config, batch: 2, patch: { side: golden.size, hasFlips: false }, seed: 1, accumulate: 1 },
    ...{ initial: filledStore(new Map()), loader, factors: golden.factors, isDecoderOnly: false, ...o },
  });

/** Loss terms and gradients of filled weights on the golden's batch. */
async function gradientsOf(task: ReturnType<typeof vaeTask>) {
  const layout = layOut([...task.weights].map(([key, { shape }]) => [key, shape] as const));
  const [values, gradients] = [makeArena(layout), makeArena(layout)];
  for (const [key, t] of values.tensors) toFloat32(t).set(fill(key, t.shape));
  const store = filledStore(new Map([...vaeParameters(config)].map(([name, { value }]) => [name, value])));
  const program = gradientProgram(task.objective, task.weights, { engine, store, threads: 1 });
  const cells = golden.size / 8;
  const batch = { picture: pictures, noise: filled("input.noise", 2, 4, cells, cells) };
  const terms = await program.run(batch, values.tensors, gradients.tensors);
  await program.dispose();
  return { terms, gradients: gradients.tensors };
}

function expectGolden(gradients: ReadonlyMap<string, Tensor>): void {
  const rows = Object.entries<readonly number[]>(golden.parameters);
  const all = Math.hypot(...rows.map(([, row]) => row[0] as number));
  for (const [key, [norm, ...wanted]] of rows.filter(([name]) => gradients.has(name))) {
    const got = projections(key, gradients.get(key) as Tensor);
    const error = rootMeanSquare(got.map((x, k) => x - (wanted[k] as number)));
    expect(error, key).toBeLessThan(1e-4 * (norm as number) + 1e-6 * all);
  }
}

describe("the loss of an autoencoder", () => {
  it("and its gradients are PyTorch's in float64, for every parameter", async () => {
    const task = taskOf();
    const { terms, gradients } = await gradientsOf(task);
    for (const [name, value] of Object.entries<number>(golden.terms))
      expect(Math.abs((terms[name] ?? Number.NaN) - value), name).toBeLessThan(1e-5 * Math.abs(value));
    expect([...gradients.keys()].sort()).toEqual(Object.keys(golden.parameters).sort());
    expectGolden(gradients);
  });

  it("leaves the encoder alone where only the decoder learns", async () => {
    const task = taskOf({ isDecoderOnly: true });
    const decoder = Object.keys(golden.parameters).filter((name) =>
      /^(decoder|post_quant_conv)\./.test(name),
    );
    expect([...task.weights.keys()].sort()).toEqual(decoder.sort());
    expectGolden((await gradientsOf(task)).gradients);
  });

  it("has edges of pictures of any side", () => {
    const edgesOf = (height: number, width: number): number => {
      const ramp = Array.from({ length: height * width }, (_, i) => i % width);
      return (
        interpret([edgeError(constant([1, 1, height, width], ramp))], new Map())[0]?.data[0] ?? Number.NaN
      );
    };
    // a step of 1 from column to column is one of 2 between means of 2; rows are equal
    expect(edgesOf(9, 9)).toBeCloseTo((1 + 2 + 4) / 6, 6);
    expect(edgesOf(16, 16)).toBeCloseTo((1 + 2 + 4 + 8) / 8, 6);
    expect(edgesOf(3, 9)).toBeCloseTo(1 / 2, 6);
  });

  it("counts the quality in dB for nothing", () => {
    const { objective } = taskOf();
    expect(Object.keys(objective.terms)).toEqual([...vaeTerms, "psnr"]);
    expect(objective.factors?.psnr).toBe(0);
    expect(totalOf(objective).shape).toEqual([]);
  });
});

describe("batches", () => {
  it("are the same whenever they are asked for, others for another step or seed", async () => {
    const of = async (step: number, seed = 1) => {
      const task = taskOf({ seed, patch: { side: 16, hasFlips: true }, accumulate: 2 });
      return (await task.batches(step)).map(({ picture, noise }) => [
        [...toFloat32(picture as Tensor)],
        [...toFloat32(noise as Tensor)],
      ]);
    };
    const first = await of(3);
    expect(first).toHaveLength(2);
    expect(await of(3)).toEqual(first);
    for (const other of [await of(4), await of(3, 2)]) {
      expect(other[0]?.[0]).not.toEqual(first[0]?.[0]);
      expect(other[0]?.[1]).not.toEqual(first[0]?.[1]);
    }
  });

  it("are pieces of their pictures, half of them mirrored", () => {
    const [n, side] = [64, 3];
    const values = Float32Array.from({ length: n * 3 * 5 * 6 }, (_, i) => i);
    const cut = patches(float32([n, 3, 5, 6], values), { side, hasFlips: true }, fastGenerator(1, "x"));
    const out = toFloat32(cut);
    let mirrored = 0;
    const corners = new Set<string>();
    for (let i = 0; i < n; i++) {
      const [a = 0, b = 0] = out.subarray(i * 3 * side * side);
      const isMirrored = b < a;
      mirrored += Number(isMirrored);
      const left = (isMirrored ? a - side + 1 : a) - i * 90;
      corners.add(`${left % 6} ${Math.floor(left / 6)}`);
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < side; y++)
          for (let x = 0; x < side; x++) {
            const from = i * 90 + c * 30 + left + 6 * y + (isMirrored ? side - 1 - x : x);
            expect(out[((i * 3 + c) * side + y) * side + x]).toBe(from);
          }
    }
    expect(mirrored).toBeGreaterThan(20);
    expect(mirrored).toBeLessThan(44);
    expect([...corners].sort()).toEqual(
      [0, 1, 2, 3].flatMap((x) => [0, 1, 2].map((y) => `${x} ${y}`)), // every place there is
    );
  });

  it("are whole pictures where the patch is as large", () => {
    const same = patches(pictures, { side: golden.size, hasFlips: false }, fastGenerator(1, "x"));
    expect(toFloat32(same)).toEqual(toFloat32(pictures));
  });
});

describe("fresh weights", () => {
  it("begin with little noise", async () => {
    for (const name of ["sd", "no-quant-shift"]) {
      const c = vaeConfig(goldenJson(`vae/${name}/config.json`));
      const bias = toFloat32(await freshVae(c, 1, -7).read(momentsBias(c)));
      expect([...bias.slice(c.latentChannels)]).toEqual(Array(c.latentChannels).fill(-7));
      expect(Math.max(...bias.slice(0, c.latentChannels).map(Math.abs))).toBeLessThan(1);
    }
  });
});

describe("the scale of latents", () => {
  const weightsOf = (c: typeof config): Map<string, Tensor> =>
    new Map([...vaeParameters(c)].map(([name, { value }]) => [name, filled(name, ...value.shape)]));

  it.each([
    "sd",
    "no-quant-shift",
  ])("goes into weights and config, and the pictures stay: %s", async (name) => {
    const c = vaeConfig(goldenJson(`vae/${name}/config.json`));
    const weights = weightsOf(c);
    const meter = await vaeMeter(c, { batch: 2, height: 32, width: 32 }, { engine, threads: 1 });
    const sums = (): LatentSums => new LatentSums(c.latentChannels);
    const before = sums();
    before.add(await meter.moments(pictures, weights), 2);
    const result = scaled(weights, c, before.facts());
    const after = sums();
    after.add(await meter.moments(pictures, result.weights), 2);
    const { means, deviation } = after.facts();
    const { scaling_factor: scale, shift_factor: shift = 0 } = result.config;
    if (c.hasPostQuantConv) {
      for (const mean of means) expect(mean).toBeCloseTo(0, 5);
      expect(deviation * scale).toBeCloseTo(1, 4);
      expect(result.config).not.toHaveProperty("shift_factor");
    } else {
      expect(means.reduce((a, b) => a + b, 0) / means.length - shift).toBeCloseTo(0, 5);
      const spread = means.reduce((sum, m) => sum + (m - shift) ** 2, 0) / means.length;
      expect(Math.sqrt(deviation ** 2 + spread) * scale).toBeCloseTo(1, 4);
    }
    const [old, now] = [
      await meter.reconstruct(pictures, weights),
      await meter.reconstruct(pictures, result.weights),
    ];
    for (const [i, picture] of old.entries()) expect(psnr(picture, now[i] as Picture)).toBeGreaterThan(60);
    await meter.dispose();
  });

  it("counts the noise, and only the pictures that it is told to", () => {
    const sums = new LatentSums(1);
    // means 1 and 3 with variance e⁰; the second row is no picture
    sums.add(float32([2, 2, 1, 2], [1, 3, 0, 0, 100, 100, 0, 0]), 1);
    expect(sums.facts()).toEqual({ means: [2], deviation: Math.SQRT2 });
  });
});

it("measures pictures in dB", () => {
  const flat = (value: number): Picture => ({ width: 2, height: 1, data: new Uint8Array(6).fill(value) });
  expect(psnr(flat(10), flat(10))).toBe(100);
  expect(psnr(flat(0), flat(255))).toBe(0);
  expect(psnr(flat(10), flat(35.5))).toBeCloseTo(10 * Math.log10((255 / 25) ** 2), 6);
});
