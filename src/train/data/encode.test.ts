/** Encoders against the goldens of test/golden, and against the programs they wrap. */

import { beforeAll, describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { type GoldenTensor, goldenJson, goldenTensors } from "../../../test/golden.ts";
import { compile } from "../../engine/compile.ts";
import { type Picture, toPixels } from "../../image/pixels.ts";
import type { Built } from "../../models/built.ts";
import { buildClipText, clipTextConfig } from "../../models/clip-text.ts";
import { MASKED } from "../../models/dit.ts";
import { buildT5, t5Config } from "../../models/t5-encoder.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig } from "../../models/vae.ts";
import type { TextEncoder } from "../../pipeline/networks.ts";
import { t5Encoder } from "../../pipeline/pixart.ts";
import { clipEncoder } from "../../pipeline/stable-diffusion.ts";
import { host } from "../../runtime/host.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { serializeSafetensors } from "../../weights/safetensors-writer.ts";
import {
  type CaptionStates,
  type EncoderOptions,
  latentsFromMoments,
  openVaeEncoder,
  picturesAtATime,
  pixelEncoder,
  textCaptionEncoder,
  vaePictureEncoder,
} from "./encode.ts";
import { batchLoader } from "./loader.ts";
import type { View } from "./view.ts";

const message = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => "no error",
    (error: Error) => error.message,
  );

/** A safetensors file of the models' weights by the rule of test/fill.ts. */
function weights(...models: readonly Built[]): Uint8Array<ArrayBuffer> {
  const parameters = models.flatMap((model) => [...model.parameters]);
  const tensors = new Map(
    parameters.map(([name, { value }]) => [name, float32(value.shape, fill(name, value.shape))]),
  );
  return serializeSafetensors(Object.fromEntries(tensors));
}

let options: EncoderOptions;
beforeAll(async () => {
  const engine = await host.engine("ort");
  options = { engine, threads: 1, batch: 3, dtype: "float32", fingerprint: "filled" };
});

const vaeJson = goldenJson("vae/sd/config.json");
const vaeModel = vaeConfig(vaeJson);
const cells = { batch: 1, height: 8, width: 8 };
const vaeFiles = (bytes: Uint8Array<ArrayBuffer>) =>
  memoryFiles("m", {
    "vae/config.json": JSON.stringify(vaeJson),
    "vae/diffusion_pytorch_model.safetensors": bytes,
  });
const wholeVae = vaeFiles(weights(buildVaeEncoder(vaeModel, cells), buildVaeDecoder(vaeModel, cells)));

const picture = (width: number, height: number, seed: number): Picture => ({
  width,
  height,
  data: Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * seed) % 256),
});

describe("the VAE's encoder", () => {
  it("is given fewer pictures at a time where they are larger, by the largest", () => {
    const square = (side: number) => ({ width: side, height: side });
    const counts = [64, 256, 264, 512, 768, 1024, 2048].map((side) => picturesAtATime([square(side)]));
    expect(counts).toEqual([16, 16, 15, 4, 1, 1, 1]);
    expect(picturesAtATime([square(256), { width: 512, height: 256 }, square(128)])).toBe(8);
  });

  it("gives each picture's moments, also where they do not fill a batch or have another size", async () => {
    const part = await openVaeEncoder(wholeVae);
    expect(part.factor).toBe(8);
    const encoder = vaePictureEncoder(part, options);
    const cases = [[picture(16, 16, 7), picture(16, 16, 11)], [picture(24, 16, 5)]];
    for (const pictures of cases) {
      const { width, height } = pictures[0] as Picture;
      const size = { batch: pictures.length, height, width };
      const program = await compile(buildVaeEncoder(part.config, size).outputs, {
        engine: options.engine,
        store: part.store,
        threads: 1,
      });
      const { moments } = await program.run({ picture: toPixels(pictures) });
      const expected = toFloat32(moments as Tensor);
      const got = await encoder.encode(pictures);
      expect(got.map(({ shape }) => shape)).toEqual(pictures.map(() => [8, height / 8, width / 8]));
      const flat = got.flatMap((t) => [...toFloat32(t)]);
      expect(Math.max(...flat.map((v, i) => Math.abs(v - (expected[i] ?? 0))))).toBeLessThan(1e-5);
      await program.dispose();
    }
    await encoder.dispose();
  });

  it("needs the encoder's weights, and not the decoder's", async () => {
    const half = vaeFiles(weights(buildVaeEncoder(vaeModel, cells)));
    expect((await openVaeEncoder(half)).config).toEqual(vaeModel);
    const other = vaeFiles(weights(buildVaeDecoder(vaeModel, cells)));
    expect(await message(openVaeEncoder(other))).toMatch(
      /^m\/vae: expected the \d+ tensors that its config asks for, got \d+ missing \[E_WEIGHTS\]/,
    );
  });

  it("whose numbers do not fit the cache's type is an error", async () => {
    const part = await openVaeEncoder(wholeVae);
    const huge = {
      ...part,
      store: {
        tensors: part.store.tensors,
        read: async (name: string) => {
          const t = await part.store.read(name);
          return name === "quant_conv.bias" ? float32(t.shape, toFloat32(t).fill(1e6)) : t;
        },
      },
    };
    const encoder = vaePictureEncoder(huge, { ...options, dtype: "float16" });
    expect(await message(encoder.encode([picture(16, 16, 7)]))).toBe(
      "the VAE's moments: expected finite numbers that float16 holds, got NaN, infinity or a larger number [E_NAN]\nKeep float32 in the cache, or look whether the weights are damaged or need float32 themselves.",
    );
    await encoder.dispose();
  });
});

describe("moments", () => {
  it("become latents: mean plus deviation times noise, shifted and scaled, the log-variance clamped", () => {
    const moments = float32([1, 4, 1, 2], [1, 2, 3, 4, 0, 2 * Math.log(3), -100, 100]);
    const scaling = { scalingFactor: 0.5, shiftFactor: 1 };
    expect([...latentsFromMoments(moments, null, scaling).data]).toEqual([0, 0.5, 1, 1.5]);
    const drawn = latentsFromMoments(moments, Float32Array.of(1, 1, 1, 1), scaling);
    expect(drawn.shape).toEqual([1, 2, 1, 2]);
    const expected = [0.5, 2, 1 + 0.5 * Math.exp(-15), 1.5 + 0.5 * Math.exp(10)].map(Math.fround);
    expect([...drawn.data].map((v, i) => Math.abs(Number(v) / (expected[i] ?? 0) - 1) < 1e-6)).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });
});

describe("pixels", () => {
  it("are kept plane by plane", async () => {
    const own = { width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) };
    const [t] = await pixelEncoder.encode([own]);
    expect(t).toEqual({ dtype: "uint8", shape: [3, 1, 2], data: Uint8Array.of(1, 4, 2, 5, 3, 6) });
  });
});

describe("captions", () => {
  /** What a training does not ask of a tokenizer: captions are cut off, not read in chunks. */
  const unchunked = {
    ...{ room: 0, start: 0, tokens: () => expect.unreachable(), frame: () => expect.unreachable() },
  };
  const { inputIds } = goldenJson("text/index.json") as { inputIds: number[][] };
  const length = inputIds[0]?.length ?? 0;

  /** A tower of filled weights whose tokenizer knows the golden texts by their number; "long" is cut. */
  async function tower(name: string, isXL = true): Promise<TextEncoder> {
    const config = clipTextConfig(goldenJson(`text/${name}/config.json`));
    const bytes = weights(buildClipText(config, { batch: 1, tokens: length }));
    const store = await openSafetensors(memoryFiles("m", { "a.safetensors": bytes }), "a.safetensors");
    const tokenizer = {
      ...unchunked,
      maxLength: length,
      encode: (text: string) => ({
        ids: inputIds[text === "long" ? 0 : Number(text)] ?? [],
        length,
        cut: text === "long" ? "the end" : "",
      }),
    };
    return clipEncoder({ name, config, store, tokenizer }, isXL);
  }
  const golden = (name: string, part: string) =>
    goldenTensors(`text/${name}/expected.safetensors`).get(part) as GoldenTensor;

  function expectNear(got: ArrayLike<number>, expected: ArrayLike<number>): void {
    expect(got.length).toBe(expected.length);
    const off = Array.from(got, (v, i) => Math.abs(v - (expected[i] ?? 0)));
    expect(Math.max(...off)).toBeLessThan(1e-4);
  }

  it("of SDXL are both towers' states side by side and the second one's projection", async () => {
    const texts = [await tower("quick-gelu"), await tower("projection")];
    const encoder = textCaptionEncoder({ isXL: true, texts }, options);
    // four texts in batches of three: the second is filled up
    const states = [...(await encoder.encode(["0", "1", "2"])), ...(await encoder.encode(["3"]))];
    const first = golden("quick-gelu", "penultimate");
    const second = golden("projection", "penultimate");
    const [a = 0, b = 0] = [first.shape[2], second.shape[2]];
    for (const [n, { text, pooled }] of states.entries()) {
      expect(text.shape).toEqual([length, a + b]);
      const values = toFloat32(text);
      for (let row = 0; row < length; row++) {
        const at = n * length + row;
        const own = values.subarray(row * (a + b), (row + 1) * (a + b));
        expectNear(own.subarray(0, a), first.data.subarray(at * a, (at + 1) * a));
        expectNear(own.subarray(a), second.data.subarray(at * b, (at + 1) * b));
      }
      const projected = golden("projection", "text_embeds");
      const P = projected.shape[1] ?? 0;
      expectNear(toFloat32(pooled as Tensor), projected.data.subarray(n * P, (n + 1) * P));
    }
    await encoder.dispose();
  });

  it("of SD 1 and 2 are the states after the last layer", async () => {
    const encoder = textCaptionEncoder({ isXL: false, texts: [await tower("quick-gelu", false)] }, options);
    const [states] = await encoder.encode(["0"]);
    const last = golden("quick-gelu", "last_hidden_state").data;
    expect(states?.pooled).toBeNull();
    expectNear(toFloat32(states?.text as Tensor), last.subarray(0, states?.text.data.length ?? 0));
    await encoder.dispose();
  });

  it("that do not fit are told of, once each", async () => {
    const cuts: string[] = [];
    const parts = { isXL: true, texts: [await tower("quick-gelu"), await tower("projection")] };
    const half = { ...options, dtype: "float16" as const };
    const encoder = textCaptionEncoder(parts, half, (caption, lost) => cuts.push(`${caption}: ${lost}`));
    const [states] = await encoder.encode(["long"]);
    expect(cuts).toEqual(["long: the end"]);
    expect(states?.text.dtype).toBe("float16");
    await encoder.dispose();
  });

  it.each([
    ["whole", {}],
    ["in pieces", { bytesInPieces: 0 }],
  ])("of T5, run %s, keep only the tokens that are text, and are fed with the mask", async (_, more) => {
    const config = t5Config(goldenJson("pixart/sigma/text_encoder/config.json"));
    const bytes = weights(buildT5(config, { batch: 1, tokens: 2 }));
    const store = await openSafetensors(memoryFiles("m", { "a.safetensors": bytes }), "a.safetensors");
    const tokens = 7;
    const tokenizer = {
      ...unchunked,
      maxLength: tokens,
      encode: (text: string) => {
        const ids = [...text].map((letter) => letter.charCodeAt(0));
        return {
          ids: [...ids, 1, ...new Array(tokens).fill(0)].slice(0, tokens),
          length: ids.length + 1,
          cut: "",
        };
      },
    };
    const t5 = t5Encoder("text_encoder", config, store, tokenizer);
    const encoder = textCaptionEncoder({ isXL: false, texts: [t5] }, { ...options, ...more });
    const captions = ["ab", "", "HELLO"]; // which is read in small letters
    const states = await encoder.encode(captions);
    await encoder.dispose();
    expect(states.map(({ text, mask }) => [text.shape, mask?.shape])).toEqual(
      [3, 1, 6].map((seen) => [[seen, config.channels], [tokens]]),
    );

    const program = await compile(t5.graph(1), { engine: options.engine, store, threads: 1 });
    const { last } = await program.run(t5.feeds([tokenizer.encode("hello")]));
    await program.dispose();
    expectNear(
      toFloat32(states[2]?.text as Tensor),
      toFloat32(last as Tensor).subarray(0, 6 * config.channels),
    );

    const side = { width: 8, height: 8 };
    const view = { original: side, target: side, top: 0, left: 0 } as unknown as View;
    const loader = batchLoader(
      {
        samples: captions.map((caption) => ({
          ...{ id: caption, hash: caption, captions: [caption], group: null, weight: 1, views: [view] },
        })),
        picture: async () => float32([2, 1, 1], [0, 0]),
        caption: async (caption) => states[captions.indexOf(caption)] as CaptionStates,
      },
      { seed: 1, batch: 3, rank: 0, world: 1, hasText: true, emptyCaptions: 0, isBalanced: false },
    );
    const batch = await loader.at(0);
    expect([batch.text?.shape, batch.mask?.shape]).toEqual([
      [3, tokens, config.channels],
      [3, tokens],
    ]);
    const row = batch.captions.indexOf("ab");
    const each = tokens * config.channels;
    const own = toFloat32(batch.text as Tensor).subarray(row * each, (row + 1) * each);
    expect(own.subarray(0, 3 * config.channels)).toEqual(toFloat32(states[0]?.text as Tensor));
    expect(own.subarray(3 * config.channels).every((x) => x === 0)).toBe(true);
    const mask = [...toFloat32(batch.mask as Tensor)].slice(row * tokens, (row + 1) * tokens);
    expect(mask).toEqual([0, 0, 0, MASKED, MASKED, MASKED, MASKED]);
  });
});
