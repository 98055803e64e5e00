/**
 * Nearest-neighbour resizing; its gradient adds up what each pixel was copied to.
 *
 * The source of row i is ⌊i · in/out⌋ with the ratio in float32, as PyTorch's `interpolate(mode="nearest")` has it
 * (ATen/native/UpSample.h, `nearest_neighbor_compute_source_index`).
 */

import { check } from "../core/assert.ts";
import { type Attrs, apply, type PrimitiveDef, type Value, whereNow } from "../graph/op.ts";
import { show, size } from "../tensor/shape.ts";
import { matmul } from "./matmul.ts";
import { sum } from "./reduce.ts";
import { reshape } from "./shape.ts";
import { constant } from "./source.ts";

interface ResizeAttrs extends Attrs {
  readonly height: number;
  readonly width: number;
}

/** For each of `to` rows the row of `from` that it copies. */
function sources(from: number, to: number): number[] {
  const ratio = Math.fround(from / to);
  return Array.from({ length: to }, (_, i) => Math.min(Math.floor(Math.fround(i * ratio)), from - 1));
}

/** [from, to], 1 where column `to` copies row `from`. */
const copies = (from: number, to: number): number[] => {
  const source = sources(from, to);
  return Array.from({ length: from * to }, (_, i) => Number(source[i % to] === Math.floor(i / to)));
};

export const resizeNearestDef: PrimitiveDef<ResizeAttrs> = {
  name: "resizeNearest",
  infer: ([x], { height, width }) => {
    check(x!.shape.length === 4 && height > 0 && width > 0, "E_SHAPE", () => ({
      where: whereNow("resizeNearest"),
      expected: "[N, C, H, W] and a positive height and width",
      got: `${show(x!.shape)} to ${height} x ${width}`,
    }));
    return { dtype: x!.dtype, shape: [x!.shape[0]!, x!.shape[1]!, height, width] };
  },
  reference: ([x], { height, width }, out) => {
    const [, , H, W] = x!.shape as [number, number, number, number];
    const rows = sources(H, height);
    const cols = sources(W, width);
    return Float64Array.from({ length: size(out) }, (_, i) => {
      const plane = Math.floor(i / (height * width));
      const at = i % (height * width);
      return x!.data[(plane * H + rows[Math.floor(at / width)]!) * W + cols[at % width]!]!;
    });
  },
  vjp: (g, { inputs: [x] }, { height, width }) => {
    const [N, C, H, W] = x!.shape as [number, number, number, number];
    if (height % H === 0 && width % W === 0)
      return [sum(reshape(g, [N, C, H, height / H, W, width / W]), [3, 5])];
    const down = constant([H, height], copies(H, height));
    const across = constant([width, W], transposed(copies(W, width), W, width));
    return [matmul(matmul(down, g), across)];
  },
  onnx: (e, [x], { height, width }, out, [type]) => {
    const [, , H, W] = type!.shape as [number, number, number, number];
    if (height % H === 0 && width % W === 0) {
      const scales = e.constant({ dtype: "float32", shape: [4] }, [1, 1, height / H, width / W]);
      return e.node("Resize", [x!, "", scales], {
        mode: "nearest",
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      });
    }
    // engines disagree on the rounding of odd ratios: copy by the table
    const rows = e.node("Gather", [x!, e.ints(sources(H, out.shape[2]!))], { axis: 2n });
    return e.node("Gather", [rows, e.ints(sources(W, out.shape[3]!))], { axis: 3n });
  },
  flops: () => 0,
};

const transposed = (matrix: readonly number[], rows: number, cols: number): number[] =>
  matrix.map((_, i) => matrix[(i % rows) * cols + Math.floor(i / rows)]!);

/** `x` [N, C, H, W] → [N, C, height, width]. */
export const resizeNearest = (x: Value, height: number, width: number): Value =>
  height === x.shape[2] && width === x.shape[3] ? x : apply(resizeNearestDef, [x], { height, width });
