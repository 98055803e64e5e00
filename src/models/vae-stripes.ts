/**
 * The VAE in passes over stripes of rows, for pictures whose whole does not fit in memory: the same numbers as `vaeEncoder` and
 * `vaeDecoder`, since each pass ends where a norm wants the statistics of the whole map before anything goes on.
 * Between passes lie maps in float16; a stripe reads one row of each neighbour, so no product is computed twice.
 */

import { labelled, type Value } from "../graph/op.ts";
import { conv, ones, type Scope, zeros } from "../nn/index.ts";
import { add, cast, mean, mul, reshape, resizeNearest, silu, slice, square, sub } from "../ops/index.ts";
import { type Built, build } from "./built.ts";
import { decoderMiddle, EPS, encoderEnd, type VaeConfig } from "./vae.ts";

/** Maps are stored divided by this: SDXL's features pass 65,504, and below 1e-3 float16 still errs by no more than 2e-6. */
const STORED_SCALE = 64;

/** What a pass needs of a map: its rows alone (0), or one of each neighbour too (1). */
export type Halo = 0 | 1;

export interface MapRead {
  readonly channels: number;
  readonly halo: Halo;
  /** Absent: float16, as maps are kept; a picture is float32. */
  readonly dtype?: "float32";
}

/** `x` runs through the network; `h` is what a ResNet holds between its two convolutions. */
export type MapName = "x" | "h";

export interface StripePass {
  /** In checkpoint words, for messages and keys. */
  readonly name: string;
  readonly reads: Readonly<Partial<Record<MapName, MapRead>>>;
  /** The map whose norm comes first: `mean` and `inverse` of its groups are fed; null where there is none. */
  readonly norm: MapName | null;
  /** `picture` is the end: float32, −1 to 1, without statistics. */
  readonly writes: MapName | "picture";
  /** Of what it writes. */
  readonly channels: number;
  /** Rows and columns of the result by those of the maps that are read. */
  readonly factor: 0.5 | 1 | 2;
  /**
   * Inputs `x`, `h` [1, C, rows + 2·halo, width], `mean` and `inverse` [1, C, 1, 1], and `inside` [1, 1, rows + 2, 1],
   * 0 for rows outside the picture. Outputs `map` float16 with its `groupMeans` and `groupVariances` [G], or `picture`.
   */
  build(rows: number, width: number): Built;
}

/** What is kept of a map: itself in float16, and for the norm that comes next the mean and variance of each group. */
function stored(map: Value, groups: number): Record<string, Value> {
  const flat = reshape(map, [groups, -1]);
  const middle = mean(flat, [1], { keep: true });
  return {
    map: cast(mul(map, 1 / STORED_SCALE), "float16"),
    groupMeans: reshape(middle, [groups]),
    groupVariances: mean(square(sub(flat, middle)), [1]),
  };
}

const unstored = (x: Value): Value => mul(cast(x, "float32"), STORED_SCALE);

/** silu(norm(x)) by statistics that are fed; rows outside the picture are 0, as a convolution pads them. */
function activated(s: Scope, x: Value, inputs: Readonly<Record<string, Value>>): Value {
  return labelled(s.path, () => {
    const channels = x.shape[1]!;
    const weight = reshape(s.param("weight", [channels], ones), [1, channels, 1, 1]);
    const bias = reshape(s.param("bias", [channels], zeros), [1, channels, 1, 1]);
    const normal = mul(sub(x, inputs.mean!), mul(inputs.inverse!, weight));
    return mul(silu(add(normal, bias)), inputs.inside!);
  });
}

/** 3 × 3 over rows that bring their neighbours: pads left and right only. */
const convRows = (s: Scope, x: Value, out: number): Value => conv(s, x, out, { pad: [0, 1, 0, 1] });

type PassRule = Omit<StripePass, "build"> & {
  define(root: Scope, inputs: Readonly<Record<string, Value>>): Record<string, Value>;
};

function pass({ define, ...rule }: PassRule): StripePass {
  return {
    ...rule,
    build(rows, width) {
      const normed = rule.norm === null ? undefined : rule.reads[rule.norm];
      const maps = Object.entries(rule.reads).map(([name, { channels, halo, dtype = "float16" }]) => [
        name,
        { dtype, shape: [1, channels, rows + 2 * halo, width] } as const,
      ]);
      const statistics =
        normed === undefined
          ? {}
          : {
              mean: { dtype: "float32", shape: [1, normed.channels, 1, 1] } as const,
              inverse: { dtype: "float32", shape: [1, normed.channels, 1, 1] } as const,
              inside: { dtype: "float32", shape: [1, 1, rows + 2, 1] } as const,
            };
      return build({ ...Object.fromEntries(maps), ...statistics }, define);
    },
  };
}

function resnetPasses(
  path: readonly (string | number)[],
  from: number,
  out: number,
  groups: number,
): StripePass[] {
  const name = path.join(".");
  return [
    pass({
      name: `${name}.conv1`,
      reads: { x: { channels: from, halo: 1 } },
      norm: "x",
      writes: "h",
      channels: out,
      factor: 1,
      define: (root, inputs) => {
        const s = root.at(...path);
        return stored(
          convRows(s.at("conv1"), activated(s.at("norm1"), unstored(inputs.x!), inputs), out),
          groups,
        );
      },
    }),
    pass({
      name: `${name}.conv2`,
      reads: { x: { channels: from, halo: 0 }, h: { channels: out, halo: 1 } },
      norm: "h",
      writes: "x",
      channels: out,
      factor: 1,
      define: (root, inputs) => {
        const s = root.at(...path);
        const x = unstored(inputs.x!);
        const h = convRows(s.at("conv2"), activated(s.at("norm2"), unstored(inputs.h!), inputs), out);
        return stored(add(from === out ? x : conv(s.at("conv_shortcut"), x, out, { kernel: 1 }), h), groups);
      },
    }),
  ];
}

const upsamplePass = (path: readonly (string | number)[], channels: number, groups: number): StripePass =>
  pass({
    name: path.join("."),
    reads: { x: { channels, halo: 1 } },
    norm: null,
    writes: "x",
    channels,
    factor: 2,
    define: (root, { x }) => {
      const [, , rows, width] = x!.shape as [number, number, number, number]; // R + 2
      const large = resizeNearest(unstored(x!), 2 * rows, 2 * width); // 2·R + 4: two rows of each neighbour
      const needed = slice(large, { axis: 2, start: 1, end: 2 * rows - 1 }); // 2·R + 2
      return stored(convRows(root.at(...path, "conv"), needed, channels), groups);
    },
  });

const downsamplePass = (path: readonly (string | number)[], channels: number, groups: number): StripePass =>
  pass({
    name: path.join("."),
    reads: { x: { channels, halo: 1 } },
    norm: null,
    writes: "x",
    channels,
    factor: 0.5,
    define: (root, { x }) => {
      const needed = slice(x!, { axis: 2, start: 1, end: x!.shape[2]! }); // pads right and below only: R + 1
      return stored(
        conv(root.at(...path, "conv"), unstored(needed), channels, { stride: 2, pad: [0, 0, 0, 1] }),
        groups,
      );
    },
  });

/** All of the encoder up to its middle, in order. The first reads the picture, −1 to 1, as `x`. */
export function encoderPasses(c: VaeConfig): StripePass[] {
  let from = c.channels[0]!;
  const passes = [
    pass({
      name: "encoder.conv_in",
      reads: { x: { channels: c.pictureChannels, halo: 1, dtype: "float32" } },
      norm: null,
      writes: "x",
      channels: from,
      factor: 1,
      define: (root, { x }) => stored(convRows(root.at("encoder", "conv_in"), x!, c.channels[0]!), c.groups),
    }),
  ];
  for (const [i, channels] of c.channels.entries()) {
    const block = ["encoder", "down_blocks", i];
    for (let j = 0; j < c.layers; j++) {
      passes.push(...resnetPasses([...block, "resnets", j], from, channels, c.groups));
      from = channels;
    }
    if (i < c.channels.length - 1)
      passes.push(downsamplePass([...block, "downsamplers", 0], channels, c.groups));
  }
  return passes;
}

/** Input `x` float16, the last pass's map at the latents' size; output `moments` as of `vaeEncoder`. */
export const buildEncoderEnd = (c: VaeConfig, height: number, width: number): Built<"moments"> =>
  build({ x: { dtype: "float16", shape: [1, c.channels.at(-1)!, height, width] } }, (root, { x }) => ({
    moments: encoderEnd(root, unstored(x), c),
  }));

/** Input `latents` [1, L, h, w] in the encoder's own scale; outputs as of a pass: the middle's map, at the latents' size. */
export const buildDecoderMiddle = (c: VaeConfig, height: number, width: number): Built =>
  build({ latents: { dtype: "float32", shape: [1, c.latentChannels, height, width] } }, (s, { latents }) =>
    stored(decoderMiddle(s, latents, c), c.groups),
  );

/** All that follows the middle, in order; `last` gives the picture. */
export function decoderPasses(c: VaeConfig): {
  readonly passes: readonly StripePass[];
  readonly last: StripePass;
} {
  const coarsestFirst = c.channels.toReversed();
  let from = coarsestFirst[0]!;
  const passes: StripePass[] = [];
  for (const [i, channels] of coarsestFirst.entries()) {
    const block = ["decoder", "up_blocks", i];
    for (let j = 0; j < c.layers + 1; j++) {
      passes.push(...resnetPasses([...block, "resnets", j], from, channels, c.groups));
      from = channels;
    }
    if (i < c.channels.length - 1) passes.push(upsamplePass([...block, "upsamplers", 0], channels, c.groups));
  }
  const last = pass({
    name: "decoder.conv_out",
    reads: { x: { channels: from, halo: 1 } },
    norm: "x",
    writes: "picture",
    channels: c.pictureChannels,
    factor: 1,
    define: (root, inputs) => {
      const s = root.at("decoder");
      return {
        picture: convRows(
          s.at("conv_out"),
          activated(s.at("conv_norm_out"), unstored(inputs.x!), inputs),
          c.pictureChannels,
        ),
      };
    },
  });
  return { passes, last };
}

/** 1 / √(variance + ε), as every norm of the VAE has it. */
export const inverseDeviation = (variance: number): number => 1 / Math.sqrt(variance + EPS);
