/** Every architecture against diffusers and transformers, in float32 on the CPU: see test/golden/README.md. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { compile } from "../src/engine/compile.ts";
import type { Built } from "../src/models/built.ts";
import { buildClipText, clipTextConfig, eosRows } from "../src/models/clip-text.ts";
import { timestepEmbedding } from "../src/models/conditioning.ts";
import { buildUNet } from "../src/models/unet.ts";
import { unetConfig } from "../src/models/unet-config.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig } from "../src/models/vae.ts";
import { buildVaeTinyDecoder, buildVaeTinyEncoder, vaeTinyConfig } from "../src/models/vae-tiny.ts";
import { host } from "../src/runtime/host.ts";
import { float32, int64, type Tensor, toFloat32 } from "../src/tensor/tensor.ts";
import { fill } from "./fill.ts";
import { filledStore } from "./filled-store.ts";
import { goldenJson, goldenTensors } from "./golden.ts";

/** Ours is off by 6e-6 at most (Zen 5), the reference's own float32 by 2e-6 (`float32Error`); a wrong epsilon shows at 2e-5. */
const tolerance = 2e-5;

async function run<Out extends string>(
  model: Built<Out>,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
): Promise<Record<Out, Float32Array>> {
  const engine = await host.engine("ort");
  const program = await compile(model.outputs, { engine, store: filledStore(model), threads: 1 });
  const tensors = Object.entries(model.inputs).map(([name, { type, shape }]): [string, Tensor] => {
    const values = Array.from(feeds[name] ?? []);
    return [name, type.dtype === "int64" ? int64(shape, values) : float32(shape, values)];
  });
  const results = await program.run(Object.fromEntries(tensors));
  await program.dispose();
  const values = Object.entries<Tensor>(results).map(([name, t]) => [name, toFloat32(t)]);
  return Object.fromEntries(values) as Record<Out, Float32Array>;
}

/** Compares with one tensor of a golden file: the largest difference over the largest magnitude expected. */
function expectNear(got: ArrayLike<number>, file: string, name: string): void {
  const expected = goldenTensors(file).get(name)?.data as Float32Array;
  expect(got.length, name).toBe(expected.length);
  const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const off = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - (got[i] ?? Number.NaN))), 0);
  expect(off / scale, name).toBeLessThan(tolerance);
}

interface FamilyCase {
  readonly height: number;
  readonly width: number;
  readonly timesteps: readonly number[];
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  readonly timeIds?: readonly (readonly number[])[];
}

const { families } = goldenJson("families/index.json");
const familyNames = Object.keys(families);

describe("the U-Net gives diffusers' output", () => {
  const cases = familyNames.flatMap((family) =>
    Object.entries<FamilyCase>(families[family].cases).map(([kind, c]) => [family, kind, c] as const),
  );
  it.each(cases)("%s, %s", async (family, kind, c) => {
    const config = unetConfig(goldenJson(`families/${family}/unet/config.json`));
    const given = (input: string) => fill(`input.${input}`, c.inputs[input] ?? []);
    const { height, width, timesteps, inputs, timeIds = [] } = c;
    const size = { batch: 2, height, width, tokens: inputs.encoder_hidden_states?.[1] ?? 0 };
    const { prediction } = await run(buildUNet(config, size), {
      sample: given("sample"),
      t_emb: timestepEmbedding(timesteps, config.down[0]?.channels ?? 0, config.sinusoid),
      text: given("encoder_hidden_states"),
      pooled: given("text_embeds"),
      time_ids: timestepEmbedding(timeIds.flat(), config.added?.sizeChannels ?? 0, config.sinusoid),
      timestep_cond: given("timestep_cond"),
    });
    expectNear(prediction, `families/${family}/expected.safetensors`, kind);
  });
});

describe("the VAE gives diffusers' pictures and latents", () => {
  const { models } = goldenJson("vae/index.json");
  const cases = Object.keys(models).flatMap((name) =>
    Object.entries<[number, number]>(models[name].cases).map(
      ([kind, size]) => [name, kind, ...size] as const,
    ),
  );
  it.each(cases)("%s, %s", async (name, kind, height, width) => {
    const json = goldenJson(`vae/${name}/config.json`);
    const near = (part: string, got: ArrayLike<number>) =>
      expectNear(got, `vae/${name}/expected.safetensors`, `${kind}.${part}`);
    const picture = fill("input.image", [2, 3, height, width]);
    const pixels = { batch: 2, height, width };
    const cells = { batch: 2, height: height / 8, width: width / 8 };
    const noise = (channels: number) => fill("input.latents", [2, channels, cells.height, cells.width]);

    if (name === "tiny") {
      const config = vaeTinyConfig(json);
      const latents = noise(config.latentChannels).map((x) => 4 * x); // so that the squashing is seen
      near("encode", (await run(buildVaeTinyEncoder(config, pixels), { picture })).latents);
      near("decode", (await run(buildVaeTinyDecoder(config, cells), { latents })).picture);
      return;
    }
    const config = vaeConfig(json);
    const { moments } = await run(buildVaeEncoder(config, pixels), { picture });
    // [N, 2·L, h, w]: the means of a picture, then its log-variances, then the next picture.
    const half = config.latentChannels * cells.height * cells.width;
    const part = (i: number) =>
      [0, 2].flatMap((n) => [...moments.subarray((n + i) * half, (n + i + 1) * half)]);
    near("encode.mean", part(0));
    near(
      "encode.logvar",
      part(1).map((x) => Math.min(Math.max(x, -30), 20)),
    );
    const latents = noise(config.latentChannels).map((x) => x / config.scalingFactor + config.shiftFactor);
    near("decode", (await run(buildVaeDecoder(config, cells), { latents })).picture);
  });
});

describe("the text towers give transformers' states", () => {
  it.each(["quick-gelu", "projection", "other-eos", "other-eos-projection"])("%s", async (name) => {
    const { inputIds } = goldenJson("text/index.json") as { inputIds: readonly (readonly number[])[] };
    const tokens = inputIds[0]?.length ?? 0;
    const config = clipTextConfig(goldenJson(`text/${name}/config.json`));
    const ids = inputIds.flat();
    const eos = eosRows(ids, tokens, config.eosToken);
    const got = await run(buildClipText(config, { batch: inputIds.length, tokens }), { ids, eos });
    const near = (part: string, values: ArrayLike<number>) =>
      expectNear(values, `text/${name}/expected.safetensors`, part);
    near("last_hidden_state", got.last);
    near("penultimate", got.hidden);
    if (config.projection === null) near("pooler_output", got.pooled);
    else near("text_embeds", got.projected);
  });
});

describe("parameters have diffusers' and transformers' names and shapes", () => {
  interface Census {
    readonly tensors: number;
    readonly sha256: string;
  }
  /** What test/golden/README.md hashes. */
  function census(models: readonly Built[], nameOf = (name: string) => name): Census {
    const lines = new Set(
      models.flatMap(({ parameters }) =>
        [...parameters].map(([name, { value }]) => `${nameOf(name)} ${value.shape.join("x")}`),
      ),
    );
    const sha256 = createHash("sha256")
      .update([...lines].sort().join("\n"))
      .digest("hex");
    return { tensors: lines.size, sha256 };
  }

  it.each(familyNames)("%s", (family) => {
    const json = (part: string) => goldenJson(`families/${family}/${part}/config.json`);
    const expected: Record<string, Census> = families[family].census;
    const cells = { batch: 1, height: 8, width: 8 };
    const vae = vaeConfig(json("vae"));
    const tower = (part: string) => {
      const config = clipTextConfig(json(part));
      // transformers 5 saves a tower without projection without the prefix of its released files
      const nameOf = (name: string) => (config.projection === null ? name.replace("text_model.", "") : name);
      return census([buildClipText(config, { batch: 1, tokens: 8 })], nameOf);
    };
    const ours: Record<string, Census> = {
      unet: census([buildUNet(unetConfig(json("unet")), { ...cells, tokens: 8 })]),
      vae: census([buildVaeEncoder(vae, cells), buildVaeDecoder(vae, cells)]),
      text_encoder: tower("text_encoder"),
      ...("text_encoder_2" in expected ? { text_encoder_2: tower("text_encoder_2") } : {}),
    };
    for (const [part, { tensors, sha256 }] of Object.entries(expected)) {
      expect(ours[part], part).toEqual({ tensors, sha256 });
    }
  });
});
