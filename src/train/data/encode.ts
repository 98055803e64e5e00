/**
 * What is computed once for a data set: latents of its pictures and states of its captions. Both run as programs on the
 * engine; the training steps then read them from the cache and never see a picture or a text.
 */

import { check } from "../../core/assert.ts";
import { type CompileOptions, compile } from "../../engine/compile.ts";
import type { Program } from "../../engine/program.ts";
import { type Picture, toPixels } from "../../image/pixels.ts";
import { buildClipText, eosRows } from "../../models/clip-text.ts";
import { buildVaeEncoder, type VaeConfig, vaeConfig, vaeFactor } from "../../models/vae.ts";
import { type EncodedText, joinStates, rows } from "../../pipeline/conditions.ts";
import type { ModelParts, TextPart } from "../../pipeline/parts.ts";
import { Stage } from "../../pipeline/stage.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { castFloat, float32, int64, type Tensor, tensor, toFloat32 } from "../../tensor/tensor.ts";
import { checkWeights } from "../../weights/check.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openComponent } from "../../weights/layout.ts";

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
  /** [S, E] */
  readonly text: Tensor;
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

/**
 * States of captions as the pipeline makes them: for SDXL the states before the last layer of all encoders side by side
 * and the last one's projection, else the states after the last layer. `cut` hears of each caption whose end did not fit, and of that end.
 */
export function textCaptionEncoder(
  { isXL, texts }: Pick<ModelParts, "isXL" | "texts">,
  o: EncoderOptions,
  cut: (caption: string, lost: string) => void = () => {},
): CaptionEncoder {
  const stages = texts.map(() => new Stage());
  return {
    key: JSON.stringify({ kind: "text", isXL, dtype: o.dtype, weights: o.fingerprint }),
    batch: o.batch,
    async encode(captions) {
      tellCuts(texts, captions, cut);
      const prompts = padded(captions, o.batch);
      const encoded: EncodedText[] = [];
      for (const [i, part] of texts.entries()) {
        const stage = stages[i] as Stage;
        const program = await stage.use("", () => textProgram(part, isXL, o));
        encoded.push(await runEncoder(part, program, prompts));
      }
      const { text, pooled } = isXL
        ? joinStates(encoded)
        : { text: encoded[0]?.last as Tensor, pooled: null };
      const where = "the text encoder's states";
      const pooledRows = pooled === null ? null : split(pooled, captions.length);
      return split(text, captions.length).map((states, i) => ({
        text: kept(states, o.dtype, where),
        pooled: pooledRows === null ? null : kept(pooledRows[i] as Tensor, o.dtype, where),
      }));
    },
    async dispose() {
      for (const stage of stages) await stage.free();
    },
  };
}

function textProgram(
  { config, store, tokenizer }: TextPart,
  isXL: boolean,
  o: EncoderOptions,
): Promise<Program> {
  const { outputs } = buildClipText(config, { batch: o.batch, tokens: tokenizer.maxLength });
  const projected = config.projection === null ? {} : { projected: outputs.projected };
  const wanted = isXL ? { hidden: outputs.hidden, ...projected } : { last: outputs.last };
  return compile(wanted, compileOptions(o, store));
}

/** An encoder's program on as many captions as it was compiled for. */
async function runEncoder(
  { tokenizer, config }: TextPart,
  program: Program,
  captions: readonly string[],
): Promise<EncodedText> {
  const ids = captions.flatMap((caption) => tokenizer.encode(caption).ids);
  const length = tokenizer.maxLength;
  // an encoder that is asked for token states alone has no use for where the sentence ends
  const eos = { eos: int64([captions.length], eosRows(ids, length, config.eosToken)) };
  const results = await program.run({
    ids: int64([captions.length, length], ids),
    ...(program.inputs.eos === undefined ? {} : eos),
  });
  return {
    last: results.last as Tensor,
    hidden: results.hidden as Tensor,
    projected: results.projected ?? null,
  };
}

function tellCuts(
  texts: readonly TextPart[],
  captions: readonly string[],
  cut: (caption: string, lost: string) => void,
): void {
  for (const caption of captions) {
    const lost = texts.map(({ tokenizer }) => tokenizer.encode(caption).cut).find((end) => end !== "");
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
