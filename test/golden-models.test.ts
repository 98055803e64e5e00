/** Every architecture against diffusers and transformers: see test/golden/README.md. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { interpret } from "../src/graph/interpret.ts";
import type { NdArray } from "../src/graph/op.ts";
import type { Built } from "../src/models/built.ts";
import { buildClipText, clipTextConfig, eosRows } from "../src/models/clip-text.ts";
import { guidanceEmbedding, timestepEmbedding } from "../src/models/conditioning.ts";
import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig } from "../src/models/vae.ts";
import { buildVaeTinyDecoder, buildVaeTinyEncoder, vaeTinyConfig } from "../src/models/vae-tiny.ts";
import { fill } from "./fill.ts";

type Feeds = Readonly<Record<string, ArrayLike<number>>>;

const root = new URL("golden/", import.meta.url);
const json = (path: string) => JSON.parse(readFileSync(new URL(path, root), "utf8"));

/** The float32 tensors of a small safetensors file. */
function golden(path: string): Record<string, Float32Array> {
  const bytes = readFileSync(new URL(path, root));
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes));
  const entries = Object.entries<{ data_offsets: [number, number] }>(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    entries.map(([name, { data_offsets: [from, to] }]) => {
      const at = 8 + headerBytes;
      return [name, new Float32Array(new Uint8Array(bytes.subarray(at + from, at + to)).buffer)];
    }),
  );
}

/** Largest difference over the largest magnitude expected. */
function relativeError(got: ArrayLike<number>, expected: Float32Array): number {
  expect(got.length).toBe(expected.length);
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(x - (got[i] ?? Number.NaN))), 0) / scale;
}

function run<Out extends string>(model: Built<Out>, feeds: Feeds): Record<Out, ArrayLike<number>> {
  const leaves = new Map<string, NdArray>();
  for (const [name, { value }] of model.parameters) {
    leaves.set(name, { shape: value.shape, data: Float64Array.from(fill(name, value.shape)) });
  }
  for (const [name, { shape }] of Object.entries(model.inputs)) {
    leaves.set(name, { shape, data: Float64Array.from(feeds[name] ?? []) });
  }
  const names = Object.keys(model.outputs) as Out[];
  const results = interpret(
    names.map((name) => model.outputs[name]),
    leaves,
  );
  return Object.fromEntries(names.map((name, i) => [name, results[i]?.data])) as Record<Out, ArrayLike<number>>;
}

interface FamilyCase {
  readonly height: number;
  readonly width: number;
  readonly timesteps: readonly number[];
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly timeIds?: readonly (readonly number[])[];
}

describe("unet gives diffusers' output", () => {
  const { families } = json("families/index.json");
  for (const name of Object.keys(families)) {
    it.each(Object.entries<FamilyCase>(families[name].cases))(`${name}, %s`, (kind, c) => {
      const config = unetConfig(json(`families/${name}/unet/config.json`));
      const given = (input: string) => fill(`input.${input}`, c.inputs[input] ?? []);
      const size = { batch: 2, height: c.height, width: c.width, tokens: c.inputs.encoder_hidden_states?.[1] ?? 0 };
      const base = config.down[0]?.channels ?? 0;
      const { prediction } = run(buildUNet(config, size), {
        sample: given("sample"),
        t_emb: timestepEmbedding(c.timesteps, base, config.sinusoid),
        text: given("encoder_hidden_states"),
        pooled: given("text_embeds"),
        time_ids: timestepEmbedding((c.timeIds ?? []).flat(), config.added?.sizeChannels ?? 0, config.sinusoid),
        timestep_cond: given("timestep_cond"),
      });
      const expected = golden(`families/${name}/expected.safetensors`)[kind] as Float32Array;
      expect(relativeError(prediction, expected)).toBeLessThan(1e-4);
    });
  }
});

describe("the VAE gives diffusers' pictures and latents", () => {
  const { models } = json("vae/index.json");
  for (const name of Object.keys(models)) {
    it.each(Object.entries<readonly [number, number]>(models[name].cases))(`${name}, %s`, (kind, [height, width]) => {
      const expected = golden(`vae/${name}/expected.safetensors`);
      const file = json(`vae/${name}/config.json`);
      const picture = fill("input.image", [2, 3, height, width]);
      const near = (part: string, got: ArrayLike<number>) =>
        expect(relativeError(got, expected[`${kind}.${part}`] as Float32Array), part).toBeLessThan(1e-4);
      const pixels = { batch: 2, height, width };
      const cells = { batch: 2, height: height / 8, width: width / 8 };

      if (name === "tiny") {
        const config = vaeTinyConfig(file);
        const latents = fill("input.latents", [2, config.latentChannels, cells.height, cells.width]).map((x) => 4 * x);
        near("encode", run(buildVaeTinyEncoder(config, pixels), { picture }).latents);
        near("decode", run(buildVaeTinyDecoder(config, cells), { latents }).picture);
        return;
      }
      const config = vaeConfig(file);
      const { moments } = run(buildVaeEncoder(config, pixels), { picture });
      // [N, 2·L, h, w]: the means of a picture, then its log-variances, then the next picture.
      const half = (config.latentChannels * height * width) / 64;
      const part = (at: number) => Array.from({ length: 2 * half }, (_, i) => moments[Math.floor(i / half) * half + at * half + i] ?? 0);
      near("encode.mean", part(0));
      const logVariance = part(1).map((x) => Math.min(Math.max(x, -30), 20));
      near("encode.logvar", logVariance);
      const noise = fill("input.latents", [2, config.latentChannels, cells.height, cells.width]);
      const latents = noise.map((x) => x / config.scalingFactor + config.shiftFactor);
      near("decode", run(buildVaeDecoder(config, cells), { latents }).picture);
    });
  }
});

describe("the text towers give transformers' states", () => {
  const { inputIds, ...rest } = json("text/index.json");
  const names = Object.keys(rest.models ?? rest.towers ?? {});
  const tokens = inputIds[0].length;
  it.each(names)("%s", (name) => {
    const config = clipTextConfig(json(`text/${name}/config.json`));
    const expected = golden(`text/${name}/expected.safetensors`);
    const ids = inputIds.flat();
    const eos = eosRows(ids, tokens, config.eosToken);
    const got = run(buildClipText(config, { batch: inputIds.length, tokens }), { ids, eos });
    const near = (part: string, values: ArrayLike<number>) =>
      expect(relativeError(values, expected[part] as Float32Array), part).toBeLessThan(1e-4);
    near("last_hidden_state", got.last);
    near("penultimate", got.hidden);
    if (config.projection === null) near("pooler_output", got.pooled);
    else near("text_embeds", got.projected);
  });
});

describe("features computed outside the graph", () => {
  it("are PyTorch's for the guidance scales of a consistency model", () => {
    // torch 2.13: LatentConsistencyModelPipeline.get_guidance_scale_embedding(torch.tensor([7.5]), 6)
    expect([...guidanceEmbedding([7.5], 6)].map((x) => Number(x.toFixed(5)))).toEqual([]);
  });
});
