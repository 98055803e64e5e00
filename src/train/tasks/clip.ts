/**
 * Training CLIP: of a batch's pictures and captions, each finds its own among those of the others.
 *
 * Source: Radford et al. 2021, arXiv:2103.00020, figure 3: cross-entropy of scaled cosines, both ways. A caption that
 * fits several pictures of the batch, as it stands there twice or with the same picture, may find any of them, with equal
 * shares (Khosla et al. 2020, arXiv:2004.11362, equation 2).
 */

import type { Value } from "../../graph/op.ts";
import { build } from "../../models/built.ts";
import { type ClipConfig, type ClipInputs, clip, clipInputs } from "../../models/clip.ts";
import { eosRows } from "../../models/clip-text.ts";
import { fedLeaf, type Parameter, Scope } from "../../nn/index.ts";
import {
  broadcastTo,
  cast,
  div,
  equal,
  exp,
  greater,
  input,
  log,
  matmul,
  max,
  mean,
  minimum,
  mul,
  neg,
  stopGradient,
  sub,
  sum,
  transpose,
} from "../../ops/index.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, int64, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Tokenizer } from "../../text/tokenize.ts";
import { cropAgain } from "../data/crop.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { noStore } from "../flat.ts";
import { stepGenerator } from "../objective.ts";
import { type Share, single } from "../parallel.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";
import { fedWeights, microBatches } from "./denoiser.ts";
import type { Task } from "./task.ts";

/** Mean and deviation of each channel of a picture from 0 to 1, as the vision tower is fed. */
export interface PixelNorm {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface ClipTaskOptions {
  readonly config: ClipConfig;
  readonly batch: number;
  /** Batches a step, of all processes; each finds its own among itself. */
  readonly accumulate: number;
  /** Which of a step's batches are this process's: one in `size`; absent: all. */
  readonly share?: Share;
  readonly initial: TensorStore;
  readonly loader: { at(index: number): Promise<Pick<Loaded, "pictures" | "captions" | "ids" | "share">> };
  readonly tokenizer: Pick<Tokenizer, "encode">;
  readonly norm: PixelNorm;
  /** Least share of a picture's side that a random crop keeps; 1: pictures stay whole. */
  readonly leastCrop: number;
  readonly seed: number;
}

/** What the graph is fed beside the towers' inputs: rows that sum to 1, the texts that each picture may find [N, N]. */
export const matchInput = "match";

/** Cosines are multiplied by no more: the paper, section 2.5. */
export const MOST_LOGIT_SCALE: number = Math.log(100);

/** `x` [N, N] → the logarithm of each row's softmax. */
function logSoftmax(x: Value): Value {
  const shifted = sub(x, stopGradient(max(x, [1], { keep: true })));
  return sub(shifted, log(sum(exp(shifted), [1], { keep: true })));
}

/** Mean cross-entropy of rows: `logits` and `match` [N, N] → []. */
const crossEntropy = (logits: Value, match: Value): Value =>
  neg(mean(sum(mul(match, logSoftmax(logits)), [1]), [0]));

/** Share of rows whose largest logit is a match. */
function accuracy(logits: Value, match: Value): Value {
  const isBest = cast(equal(logits, broadcastTo(max(logits, [1], { keep: true }), logits.shape)), "float32");
  const isMatch = cast(greater(match, 0), "float32");
  return mean(div(sum(mul(isBest, isMatch), [1]), sum(isBest, [1])), [0]);
}

export interface ClipObjective extends Objective {
  readonly terms: Readonly<Record<"texts" | "pictures" | "accuracy", Value>>;
}

/** Half from pictures to texts and half the other way; and the share of pictures that find theirs, which is only told. */
export function clipObjective(
  s: Scope,
  inputs: ClipInputs & { readonly match: Value },
  c: ClipConfig,
): ClipObjective {
  const { texts, pictures, logitScale } = clip(s, inputs, c);
  const cosines = matmul(pictures, transpose(texts, [1, 0])); // [N, N]
  const logits = mul(exp(minimum(logitScale, MOST_LOGIT_SCALE)), cosines);
  return {
    terms: {
      // fitting is mutual: the row of a caption's own picture tells which pictures it may find
      texts: crossEntropy(logits, inputs.match),
      pictures: crossEntropy(transpose(logits, [1, 0]), inputs.match),
      accuracy: accuracy(logits, inputs.match),
    },
    factors: { texts: 0.5, pictures: 0.5, accuracy: 0 },
  };
}

/** `captions` as token ids of N rows and `ids` of pictures → [N, N]: equal shares of all that fit, each row's sum 1. */
export function matches(captions: readonly string[], ids: readonly string[]): Float32Array<ArrayBuffer> {
  const count = ids.length;
  const out = new Float32Array(count * count);
  for (let i = 0; i < count; i++) {
    const fits = ids.map((id, j) => id === ids[i] || captions[j] === captions[i]);
    const share = 1 / fits.filter(Boolean).length;
    for (const [j, isFit] of fits.entries()) out[i * count + j] = isFit ? share : 0;
  }
  return out;
}

/** `pictures` [N, 3, H, W] from −1 to 1 as the tower is fed. */
function normalised(pictures: Tensor, { mean: means, std }: PixelNorm): Tensor {
  const values = toFloat32(pictures);
  const [count = 0, channels = 0, height = 0, width = 0] = pictures.shape;
  const each = height * width;
  const out = new Float32Array(values.length);
  for (let plane = 0; plane < count * channels; plane++) {
    const [average, deviation] = [means[plane % channels] ?? 0, std[plane % channels] ?? 1];
    // (x + 1) / 2 is the picture from 0 to 1
    const [scale, shift] = [0.5 / deviation, (0.5 - average) / deviation];
    for (let i = plane * each; i < (plane + 1) * each; i++) out[i] = (values[i] ?? 0) * scale + shift;
  }
  return float32(pictures.shape, out);
}

/** Micro-batch `index`, from 0: the towers' inputs, and `match`. */
export async function pairFeeds(
  index: number,
  o: Pick<ClipTaskOptions, "config" | "loader" | "tokenizer" | "norm" | "leastCrop" | "seed">,
): Promise<Batch> {
  const { pictures, captions, ids: pictureIds, share } = await o.loader.at(index);
  const tokens = o.config.text.positions;
  const rows = captions.map((caption) => o.tokenizer.encode(caption).ids);
  const ids = rows.flat();
  const cropped = cropAgain(pictures, o.leastCrop, stepGenerator(o.seed, index, "crop", share));
  const spelt = rows.map((row) => row.join());
  return {
    picture: normalised(cropped, o.norm),
    ids: int64([rows.length, tokens], ids),
    eos: int64([rows.length], eosRows(ids, tokens, o.config.text.eosToken)),
    [matchInput]: float32([rows.length, rows.length], matches(spelt, pictureIds)),
  };
}

/** What is trained, by its name in a checkpoint. */
export function clipParameters(c: ClipConfig): ReadonlyMap<string, Parameter> {
  return build(clipInputs(c, 1), (s, inputs) => ({ ...clip(s, inputs, c) })).parameters;
}

/** The loss of `batch` pairs over weights that are fed, under their names in a checkpoint. */
export function clipGraph(
  c: ClipConfig,
  batch: number,
): { readonly objective: ClipObjective; readonly weights: ReadonlyMap<string, Value> } {
  const s = new Scope("", new Map(), fedLeaf);
  const types = clipInputs(c, batch);
  const inputs = {
    picture: input("picture", types.picture),
    ids: input("ids", types.ids),
    eos: input("eos", types.eos),
    match: input(matchInput, { shape: [batch, batch] }),
  };
  const objective = clipObjective(s, inputs, c);
  return { objective, weights: fedWeights(s) };
}

export function clipTask(o: ClipTaskOptions): Task {
  const { rank, size } = o.share ?? single;
  return {
    ...clipGraph(o.config, o.batch),
    initial: o.initial,
    frozen: noStore,
    pictures: (o.batch * o.accumulate) / size,
    batches: (step) =>
      Promise.all(
        microBatches(step, o.accumulate)
          .filter((index) => index % size === rank)
          .map((index) => pairFeeds(index, o)),
      ),
    dispose: async () => {},
  };
}
