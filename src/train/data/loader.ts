/** Batches of a prepared data set, by step: what one process of a training job feeds to its programs. */

import { check } from "../../core/assert.ts";
import { allocate } from "../../tensor/dtype.ts";
import { float32, type Tensor, tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Share } from "../parallel.ts";
import { bucketName, type Size } from "./buckets.ts";
import type { CaptionStates } from "./encode.ts";
import { Order, type OrderOptions } from "./order.ts";
import { sizeNumbers, type View } from "./view.ts";

/** A sample whose pictures and captions are in the cache. */
export interface PreparedSample {
  readonly id: string;
  readonly hash: string;
  readonly captions: readonly string[];
  readonly group: string | null;
  readonly weight: number;
  /** At least one, all of one target size. */
  readonly views: readonly [View, ...View[]];
}

/** Samples, and access to what is kept of them. */
export interface PreparedData {
  readonly samples: readonly PreparedSample[];
  /** Moments [2·L, h, w], or pixels uint8 [3, H, W]. @throws KoalaError E_CHECKSUM, E_FILE */
  picture(sample: PreparedSample, view: number): Promise<Tensor>;
  /** States of a caption of the samples, or of "". @throws KoalaError E_CHECKSUM, E_FILE */
  caption(caption: string): Promise<CaptionStates>;
}

export interface LoaderOptions extends OrderOptions {
  /** This process's place among `world`, from 0. */
  readonly rank: number;
  readonly world: number;
  /** Whether text states are read: not for a VAE. */
  readonly hasText: boolean;
}

/** One step's samples of this process, N of them. */
export interface Batch {
  readonly step: number;
  readonly epoch: number;
  /** Which part of the whole batch these samples are; absent: all of it. */
  readonly share?: Share;
  /** Of the pictures, in pixels. */
  readonly size: Size;
  readonly ids: readonly string[];
  /** As drawn: "" where the empty caption stands in. */
  readonly captions: readonly string[];
  /** Moments float32 [N, 2·L, h, w], or pixels float32 [N, 3, H, W] in −1 to 1. */
  readonly pictures: Tensor;
  /** float32 [N, S, E]; null where text is not read. */
  readonly text: Tensor | null;
  /** What tells text from padding to the denoiser, float32 [N, S]; absent where it sees both. */
  readonly mask?: Tensor | null;
  /** float32 [N, P]; SDXL only. */
  readonly pooled: Tensor | null;
  /** SDXL's six numbers a sample, N rows flattened. */
  readonly sizes: readonly number[];
}

export interface Loader {
  readonly order: Order;
  /** The batch of step `step`, from 0, whatever was asked for before. @throws KoalaError E_CHECKSUM, E_FILE */
  at(step: number): Promise<Batch>;
}

/** @throws KoalaError E_CONFIG when the batch cannot be shared among the processes, or as `Order` throws */
export function batchLoader(data: PreparedData, o: LoaderOptions): Loader {
  check(o.batch % o.world === 0 && o.rank >= 0 && o.rank < o.world, "E_CONFIG", () => ({
    where: "batch",
    expected: `a multiple of the ${o.world} processes, each of which takes an equal share`,
    got: `${o.batch} (process ${o.rank})`,
  }));
  const order = new Order(
    data.samples.map(({ views, captions, group, weight }) => ({
      bucket: bucketName(views[0].target),
      views: views.length,
      captions: captions.length,
      group,
      weight,
    })),
    o,
  );
  const share = o.batch / o.world;

  async function at(step: number): Promise<Batch> {
    const { epoch, draws } = order.at(step);
    const own = draws.slice(o.rank * share, (o.rank + 1) * share).map(({ sample, view, caption }) => {
      const its = data.samples[sample] as PreparedSample;
      return { its, view, caption: caption === null ? "" : (its.captions[caption] ?? "") };
    });
    const pictures = await Promise.all(own.map(({ its, view }) => data.picture(its, view)));
    const states = o.hasText ? await Promise.all(own.map(({ caption }) => data.caption(caption))) : [];
    const pooled = states.flatMap((s) => (s.pooled === null ? [] : [s.pooled]));
    const masks = states.flatMap((s) => (s.mask == null ? [] : [s.mask]));
    const views = own.map(({ its, view }) => its.views[view] as View);
    return {
      step,
      epoch,
      share: { rank: o.rank, size: o.world },
      size: (views[0] as View).target,
      ids: own.map(({ its }) => its.id),
      captions: own.map(({ caption }) => caption),
      pictures: pictureBatch(pictures),
      text: o.hasText ? asFloats(stacked(states.map(wholeText))) : null,
      mask: masks.length === 0 ? null : asFloats(stacked(masks)),
      pooled: pooled.length === 0 ? null : asFloats(stacked(pooled)),
      sizes: views.flatMap(sizeNumbers),
    };
  }

  return { order, at };
}

/** The states of a caption [S, E], with zeros for the padding that was not kept. */
export function wholeText({ text, mask }: CaptionStates): Tensor {
  if (mask == null) return text;
  const [tokens = 0, width = 0] = [mask.shape[0], text.shape[1]];
  const whole = allocate(text.dtype, tokens * width);
  whole.set(text.data as never);
  return tensor(text.dtype, [tokens, width], whole);
}

/** What is kept of pictures of one size, as a network is fed with it. */
export const pictureBatch = (pictures: readonly Tensor[]): Tensor => asFloats(stacked(pictures));

/** Tensors of one shape […] → [N, …]. */
function stacked(tensors: readonly Tensor[]): Tensor {
  const { dtype, shape, data } = tensors[0] as Tensor;
  const all = allocate(dtype, tensors.length * data.length);
  for (const [i, t] of tensors.entries()) all.set(t.data as never, i * data.length);
  return tensor(dtype, [tensors.length, ...shape], all);
}

/** Pixels become −1 to 1, as diffusers' `Normalize([0.5], [0.5])` does; other kinds keep their values. */
function asFloats(t: Tensor): Tensor {
  if (t.dtype !== "uint8") return float32(t.shape, toFloat32(t));
  return float32(
    t.shape,
    Float32Array.from(t.data as Uint8Array, (v) => (v / 255) * 2 - 1),
  );
}
