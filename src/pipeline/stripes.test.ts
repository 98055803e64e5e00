/** The trained VAE of koala-emoji, whole and in stripes, on a picture half flat and half busy. */

import { join } from "node:path";
import { expect, it } from "vitest";
import { compile } from "../engine/compile.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig, vaeFactor } from "../models/vae.ts";
import { engine } from "../node/engines.ts";
import { openFolder } from "../node/files.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { openComponent } from "../weights/layout.ts";
import { decodeInStripes } from "./decode-stripes.ts";
import { encodeInStripes } from "./encode-stripes.ts";
import type { StripeOptions } from "./stripes.ts";

const side = 256;

async function setUp() {
  const files = await openFolder(join(import.meta.dirname, "../../models/koala-emoji"));
  const { config: json, store } = await openComponent(files, "vae");
  const config = vaeConfig(json);
  const o = { engine: await engine("ort"), store, threads: 1 };
  const noise = new TorchGenerator(1).randn(3 * side * side);
  const pixels = noise.map((v, i) => (i % side < side / 2 ? 0.8 : Math.max(-1, Math.min(1, v))));
  const encoder = await compile(buildVaeEncoder(config, { batch: 1, height: side, width: side }).outputs, o);
  const original = float32([1, 3, side, side], pixels);
  const { moments } = await encoder.run({ picture: original });
  await encoder.dispose();
  const cells = side / vaeFactor(config);
  const shape = [1, config.latentChannels, cells, cells];
  const latents = float32(
    shape,
    toFloat32(moments as Tensor).slice(0, config.latentChannels * cells * cells),
  );
  const decoder = await compile(
    buildVaeDecoder(config, { batch: 1, height: cells, width: cells }).outputs,
    o,
  );
  const { picture } = await decoder.run({ latents });
  await decoder.dispose();
  const options: Omit<StripeOptions, "stripes"> = {
    config,
    compile: (_, { outputs }) => compile(outputs, o),
  };
  return { original, moments: moments as Tensor, latents, whole: toFloat32(picture as Tensor), options };
}

/** Of pixels in −1 to 1, over those that `has` names. */
function decibels(a: Float32Array, b: Float32Array, has: (row: number, column: number) => boolean): number {
  let squares = 0;
  let count = 0;
  for (let i = 0; i < a.length; i++) {
    if (!has(Math.floor(i / side) % side, i % side)) continue;
    squares += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
    count++;
  }
  return 10 * Math.log10((4 * count) / squares);
}

it("is the whole decoder's picture to 60 dB, at the seams and in the flat half too", async () => {
  const { latents, whole, options } = await setUp();
  for (const stripes of [1, 4, 8]) {
    const picture = toFloat32(await decodeInStripes(latents, { ...options, stripes }));
    const rows = side / stripes;
    const isSeam = (row: number): boolean => Math.min(row % rows, rows - (row % rows)) <= 2;
    const levels = [
      decibels(picture, whole, () => true),
      decibels(picture, whole, isSeam),
      decibels(picture, whole, (row, column) => isSeam(row) && column < side / 2 - 16),
    ];
    for (const level of levels) expect(level, `${stripes} stripes: ${levels}`).toBeGreaterThan(60);
  }
  await expect(decodeInStripes(latents, { ...options, stripes: 5 })).rejects.toThrow(
    "stripes: expected a divisor of 64, the rows of the latents, got 5",
  );
});

it("encodes as the whole encoder does, to 60 dB", async () => {
  const { original, moments, options } = await setUp();
  const whole = toFloat32(moments);
  const power = whole.reduce((sum, v) => sum + v * v, 0);
  for (const stripes of [1, 4, 8]) {
    const encoded = await encodeInStripes(original, { ...options, stripes });
    expect(encoded.shape).toEqual(moments.shape);
    const error = toFloat32(encoded).reduce((sum, v, i) => sum + (v - (whole[i] ?? 0)) ** 2, 0);
    expect(10 * Math.log10(power / error), `${stripes} stripes`).toBeGreaterThan(60);
  }
  await expect(encodeInStripes(original, { ...options, stripes: 5 })).rejects.toThrow(
    "stripes: expected a divisor of 64, the rows of the latents, got 5",
  );
});
