/**
 * What is computed once for a data set: latents of its pictures and states of its captions. Both run as programs on the
 * engine; the training steps then read them from the cache and never see a picture or a text.
 */

import { check } from "../../core/assert.ts";
import { chain } from "../../engine/chain.ts";
import { type CompileOptions, compile } from "../../engine/compile.ts";
import type { Program } from "../../engine/program.ts";
import { type Picture, toPixels } from "../../image/pixels.ts";
import { buildVaeEncoder, type VaeConfig, vaeConfig, vaeFactor } from "../../models/vae.ts";
import { type EncodedText, joinStates, rows } from "../../pipeline/conditions.ts";
import type { TextEncoder } from "../../pipeline/networks.ts";
import { Stage } from "../../pipeline/stage.ts";
import { size } from "../../tensor/shape.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { castFloat, float32, type Tensor, tensor, toFloat32 } from "../../tensor/tensor.ts";
import { checkWeights } from "../../weights/check.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openComponent } from "../../weights/layout.ts";
import type { Size } from "./buckets.ts";

/** How results are kept. Half the bytes in float16, whose largest number is 65504. */
export type KeptDType = "float16" | "float32";

/** Turns pictures of one size into what is kept of them. */
export interface PictureEncoder {
  /** What the results depend on beside the picture: the cache is keyed by it. */
  readonly key: string;
  /** Pictures that it is best given at a time. */
  readonly batch: number;
  /** One tensor a picture. @throws KoalaError E_NAN, E_ENGINE */
  encode(pictures: readonly Picture[]): Promise<Tensor[]>;
  dispose(): Promise<void>;
}

/** The states of one caption. */
export interface CaptionStates {
  /** [S, E]; with a mask only the rows that it lets be seen, which are the first. */
  readonly text: Tensor;
  /** What tells text from padding to the denoiser [S]; absent where it sees both. */
  readonly mask?: Tensor | null;
  /** [P]; SDXL only. */
  readonly pooled: Tensor | null;
}

export interface CaptionEncoder {
  readonly key: string;
  readonly batch: number;
  /** @throws KoalaError E_NAN, E_ENGINE */
  encode(captions: readonly string[]): Promise<CaptionStates[]>;
  dispose(): Promise<void>;
}

export interface EncoderOptions {
  readonly engine: CompileOptions["engine"];
  readonly threads?: number;
  /** Pictures or captions a run of the program. */
  readonly batch: number;
  readonly dtype: KeptDType;
  /** Names the weights: what changes when they change. */
  readonly fingerprint: string;
  /** Bytes of a text encoder's weights, in float32, from which on it runs in pieces where it has them. */
  readonly bytesInPieces?: number;
}

export interface VaeEncoderPart {
  readonly config: VaeConfig;
  readonly store: TensorStore;
  /** Pixels a latent cell. */
  readonly factor: number;
}

/**
 * The encoder's half of a model folder's VAE.
 * @throws KoalaError E_CONFIG, E_WEIGHTS, E_MODEL
 */
export async function openVaeEncoder(files: ModelFiles): Promise<VaeEncoderPart> {
  const { config: json, store } = await openComponent(files, "vae");
  const where = `${files.location}/vae`;
  const config = vaeConfig(json, `${where} (config)`);
  const factor = vaeFactor(config);
  const { parameters } = buildVaeEncoder(config, { batch: 1, height: 8 * factor, width: 8 * factor });
  checkWeights(store, new Map([...parameters].map(([name, { value }]) => [name, value.shape])), {
    where,
    ignorable: [/^decoder\./, /^post_quant_conv\./],
  });
  return { config, store, factor };
}

/** Those of `compile`, of ours. */
const compileOptions = ({ engine, threads }: EncoderOptions, store: TensorStore): CompileOptions => ({
  engine,
  store,
  ...(threads === undefined ? {} : { threads }),
});

/** Captions a run of a text encoder, and the most pictures a run of the VAE. */
export const encodedAtATime = 16;
/**
 * Pixels that pictures of one run have together at most, where they are more than one: by the factors of docs/memory.md
 * 16 of 256 px take SDXL's encoder 3.1 GB of values, and 16 of 1024 px would take 49.
 */
const pixelsAtATime = encodedAtATime * 256 ** 2;

/** Pictures that a VAE is given at a time, where none is larger than the largest of `sizes`. */
export function picturesAtATime(sizes: readonly Size[]): number {
  const largest = sizes.reduce((most, { width, height }) => Math.max(most, width * height), 1);
  return Math.min(encodedAtATime, Math.max(1, Math.floor(pixelsAtATime / largest)));
}

/** Mean and log-variance of a picture's latents, [2·L, h, w], the mean first: moments, so that each epoch can draw anew. */
export function vaePictureEncoder({ config, store }: VaeEncoderPart, o: EncoderOptions): PictureEncoder {
  const stage = new Stage();
  return {
    key: JSON.stringify({ kind: "moments", dtype: o.dtype, weights: o.fingerprint }),
    batch: o.batch,
    async encode(pictures) {
      const { width, height } = pictures[0] ?? { width: 0, height: 0 };
      const size = { batch: o.batch, height, width };
      const program = await stage.use(`${width},${height}`, () =>
        compile(buildVaeEncoder(config, size).outputs, compileOptions(o, store)),
      );
      const { moments } = await program.run({ picture: toPixels(padded(pictures, o.batch)) });
      return split(moments as Tensor, pictures.length).map((t) => kept(t, o.dtype, "the VAE's moments"));
    },
    dispose: () => stage.free(),
  };
}

/** The pictures themselves, uint8 [3, H, W]: to train a VAE or an image encoder. */
export const pixelEncoder: PictureEncoder = {
  key: JSON.stringify({ kind: "pixels" }),
  batch: 1,
  encode: async (pictures) =>
    pictures.map(({ width, height, data }) => {
      const planes = new Uint8Array(data.length);
      const plane = width * height;
      for (let p = 0; p < plane; p++)
        for (let c = 0; c < 3; c++) planes[c * plane + p] = data[3 * p + c] ?? 0;
      return tensor("uint8", [3, height, width], planes);
    }),
  dispose: async () => {},
};

/** Text encoders as a pipeline has them; `isXL` joins two. */
export interface TextEncoders {
  readonly isXL: boolean;
  readonly texts: readonly TextEncoder[];
}

/** Captions at a time through an encoder that runs in pieces: its weights are read once for all of them. */
const captionsInPieces = 32;
/** T5-XXL has 19 GB of weights in float32, the largest CLIP 2.8. */
const usualBytesInPieces = 4e9;

/**
 * States of captions as the pipeline makes them: for SDXL the states before the last layer of all encoders side by side
 * and the last one's projection, else the states after the last layer. `cut` hears of each caption whose end did not fit, and of that end.
 */
export function textCaptionEncoder(
  { isXL, texts }: TextEncoders,
  o: EncoderOptions,
  cut: (caption: string, lost: string) => void = () => {},
): CaptionEncoder {
  const stages = texts.map(() => new Stage());
  const isAnyInPieces = texts.some((encoder) => isInPieces(encoder, o));
  const batch = isAnyInPieces ? captionsInPieces : o.batch;
  return {
    key: JSON.stringify({ kind: "text", isXL, dtype: o.dtype, weights: o.fingerprint }),
    batch,
    async encode(captions) {
      tellCuts(texts, captions, cut);
      // what runs in pieces is compiled at every run, and so for as many as there are
      const count = isAnyInPieces ? captions.length : batch;
      const prompts = padded(captions, count);
      const encoded: EncodedText[] = [];
      for (const [i, encoder] of texts.entries()) {
        const stage = stages[i] as Stage;
        const program = await stage.use(`${count}`, () => textProgram(encoder, count, o));
        encoded.push(await runEncoder(encoder, program, prompts));
      }
      const { text, pooled } = isXL
        ? joinStates(encoded)
        : { text: encoded[0]?.states as Tensor, pooled: null };
      const each = (t: Tensor | null | undefined): readonly (Tensor | null)[] =>
        t == null ? captions.map(() => null) : split(t, captions.length);
      const [states, masks, pooledRows] = [each(text), each(encoded[0]?.mask), each(pooled)];
      return captions.map((_, i) =>
        statesOf(states[i] as Tensor, masks[i] ?? null, pooledRows[i] ?? null, o),
      );
    },
    async dispose() {
      for (const stage of stages) await stage.free();
    },
  };
}

/** As they are kept: padding that nothing sees is left out. */
function statesOf(
  text: Tensor,
  mask: Tensor | null,
  pooled: Tensor | null,
  { dtype }: EncoderOptions,
): CaptionStates {
  const where = "the text encoder's states";
  const seen = mask === null ? text : rows(text, 0, toFloat32(mask).filter((x) => x === 0).length);
  return {
    text: kept(seen, dtype, where),
    ...(mask === null ? {} : { mask }),
    pooled: pooled === null ? null : kept(pooled, dtype, where),
  };
}

function isInPieces(
  { store, pieces }: TextEncoder,
  { bytesInPieces = usualBytesInPieces }: EncoderOptions,
): boolean {
  const floats = [...store.tensors.values()].reduce((sum, { shape }) => sum + size(shape), 0);
  return 4 * floats >= bytesInPieces && pieces(1) !== null;
}

async function textProgram(encoder: TextEncoder, batch: number, o: EncoderOptions): Promise<Program> {
  const options = compileOptions(o, encoder.store);
  const pieces = isInPieces(encoder, o) ? encoder.pieces(batch) : null;
  return pieces === null
    ? compile(encoder.graph(batch), options)
    : chain(pieces, { ...options, carry: { output: "last", input: "states" } });
}

/** An encoder's program on as many captions as it was compiled for. */
async function runEncoder(
  encoder: TextEncoder,
  program: Program,
  captions: readonly string[],
): Promise<EncodedText> {
  const encoded = captions.map((caption) => encoder.tokenizer.encode(encoder.prepare(caption)));
  const { last, hidden, projected } = await program.run(encoder.feeds(encoded));
  return {
    states: (last ?? hidden) as Tensor,
    projected: projected ?? null,
    mask: encoder.mask(encoded),
  };
}

function tellCuts(
  texts: readonly TextEncoder[],
  captions: readonly string[],
  cut: (caption: string, lost: string) => void,
): void {
  for (const caption of captions) {
    const lost = texts
      .map(({ tokenizer, prepare }) => tokenizer.encode(prepare(caption)).cut)
      .find((end) => end !== "");
    if (lost !== undefined) cut(caption, lost);
  }
}

/** `items`, the last one repeated until there are `count`: a program has one size, and a rest is not worth another. */
function padded<T>(items: readonly T[], count: number): T[] {
  const last = items.at(-1) as T;
  return Array.from({ length: count }, (_, i) => items[i] ?? last);
}

/** The first `count` rows of [N, …], each without its first axis. */
const split = (t: Tensor, count: number): Tensor[] =>
  Array.from({ length: count }, (_, i) => {
    const row = rows(t, i, 1);
    return { ...row, shape: row.shape.slice(1) };
  });

/** The largest finite number of IEEE 754 binary16. */
const largestHalf = 65504;

function kept(t: Tensor, dtype: KeptDType, where: string): Tensor {
  const most = dtype === "float16" ? largestHalf : Number.MAX_VALUE;
  check(
    toFloat32(t).every((v) => Math.abs(v) <= most),
    "E_NAN",
    () => ({
      where,
      expected: `finite numbers that ${dtype} holds`,
      got: "NaN, infinity or a larger number",
      hint: "Keep float32 in the cache, or look whether the weights are damaged or need float32 themselves.",
    }),
  );
  return castFloat(t, dtype);
}

/** diffusers' `DiagonalGaussianDistribution` clamps the log-variance to it. */
export const logVarianceRange = [-30, 20] as const;

/**
 * `moments` [N, 2·L, h, w] and noise [N, L, h, w] → latents of the diffusion [N, L, h, w]:
 * (mean + e^(logvar / 2) · noise − shift) · scale. Without noise the mean, the distribution's mode.
 */
export function latentsFromMoments(
  moments: Tensor,
  noise: Float32Array | null,
  { scalingFactor, shiftFactor }: { readonly scalingFactor: number; readonly shiftFactor: number },
): Tensor {
  const [N = 0, channels = 0, h = 0, w = 0] = moments.shape;
  const L = channels / 2;
  const values = toFloat32(moments);
  const each = L * h * w;
  const out = new Float32Array(N * each);
  const [low, high] = logVarianceRange;
  for (let n = 0; n < N; n++) {
    for (let i = 0; i < each; i++) {
      const mean = values[2 * n * each + i] ?? 0;
      const logVariance = Math.min(high, Math.max(low, values[(2 * n + 1) * each + i] ?? 0));
      const spread = noise === null ? 0 : Math.exp(logVariance / 2) * (noise[n * each + i] ?? 0);
      out[n * each + i] = (mean + spread - shiftFactor) * scalingFactor;
    }
  }
  return float32([N, L, h, w], out);
}
