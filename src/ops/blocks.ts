/**
 * Weights of 4 or 8 bits in blocks that share a scale: (q − 2^(bits−1)) · scale. `blockLinear` is defined by its expansion,
 * a float product; MatMulNBits reads the same bytes. Elsewhere the numbers are made from the bytes by arithmetic, which an
 * engine folds when it loads the model. Integers and scales are stored numbers: no gradient flows into them.
 */

import { check } from "../core/assert.ts";
import {
  type Attrs,
  apply,
  type CompositeDef,
  type OnnxEmitter,
  type PrimitiveDef,
  type TensorType,
  type Value,
  whereNow,
} from "../graph/op.ts";
import { type Shape, sameShape, show, size } from "../tensor/shape.ts";
import { linear } from "./matmul.ts";

interface BlockAttrs extends Attrs {
  readonly bits: number;
  readonly block: number;
  /** K: numbers in a row; what fills up the last block is left out. */
  readonly columns: number;
}

function checkBlocks(op: string, packed: TensorType, scale: TensorType, attrs: BlockAttrs): void {
  const [rows] = packed.shape;
  const blocks = Math.ceil(attrs.columns / attrs.block);
  const fits =
    packed.dtype === "uint8" &&
    sameShape(packed.shape, [rows!, blocks, (attrs.block * attrs.bits) / 8]) &&
    sameShape(scale.shape, [rows!, blocks]);
  check(fits, "E_SHAPE", () => ({
    where: whereNow(op),
    expected: `uint8 [R, ${blocks}, ${(attrs.block * attrs.bits) / 8}] and a scale [R, ${blocks}]`,
    got: `${packed.dtype} ${show(packed.shape)} and ${show(scale.shape)}`,
  }));
}

/** `packed` uint8 [R, blocks, block · bits / 8], `scale` [R, blocks] → float32 [R, columns]. */
export const dequantizeBlocksDef: PrimitiveDef<BlockAttrs> = {
  name: "dequantizeBlocks",
  infer: ([packed, scale], attrs) => {
    checkBlocks("dequantizeBlocks", packed!, scale!, attrs);
    return { dtype: "float32", shape: [packed!.shape[0]!, attrs.columns] };
  },
  reference: ([packed, scale], { bits, block, columns }, out) => {
    const blocks = Math.ceil(columns / block);
    return Float64Array.from({ length: size(out) }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const at = row * blocks * block + column;
      const byte = packed!.data[Math.floor((at * bits) / 8)]!;
      const q = bits === 8 ? byte : at % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
      return (q - 2 ** (bits - 1)) * scale!.data[row * blocks + Math.floor(column / block)]!;
    });
  },
  vjp: () => [null, null],
  onnx: (e, [packed, scale], { bits, block, columns }, _out, [type]) => {
    const [rows, blocks] = type!.shape as [number, number];
    const integers = bits === 8 ? packed! : halves(e, packed!, [rows, blocks, block]);
    const spread = e.ints([rows, blocks * block]);
    const middle = 2 ** (bits - 1);
    let whole: string;
    if (e.target === "ort-cpu") {
      // never folded: the weight stays in memory as integers of 8 bits, and is floats only while it is used
      const zero = e.constant({ dtype: "uint8", shape: [rows, blocks] }, [middle]);
      const flat = e.node("Reshape", [integers, spread]);
      const steps = { axis: 1n, block_size: BigInt(block) };
      whole = e.node("DequantizeLinear", [flat, scale!, zero], steps);
    } else {
      const factor = e.node("Reshape", [scale!, e.ints([rows, blocks, 1])]);
      const half = e.constant({ dtype: "float32", shape: [] }, [middle]);
      whole = e.node("Reshape", [
        e.node("Mul", [e.node("Sub", [e.cast(integers, "float32"), half]), factor]),
        spread,
      ]);
    }
    return blocks * block === columns
      ? whole
      : e.node("Slice", [whole, e.ints([0]), e.ints([columns]), e.ints([1])]);
  },
  flops: (_, out) => 2 * size(out.shape),
};
export const dequantizeBlocks = (
  packed: Value,
  scale: Value,
  { bits, block, columns }: { readonly bits: number; readonly block: number; readonly columns: number },
): Value => apply(dequantizeBlocksDef, [packed, scale], { bits, block, columns });

/** The two numbers of each byte, the low half first. */
function halves(e: OnnxEmitter, packed: string, shape: Shape): string {
  const byte = (n: number): string => e.constant({ dtype: "uint8", shape: [1] }, [n]);
  const each = [
    e.node("BitwiseAnd", [packed, byte(15)]),
    e.node("BitShift", [packed, byte(4)], { direction: "RIGHT" }),
  ].map((half) => e.node("Unsqueeze", [half, e.ints([-1])]));
  return e.node("Reshape", [e.node("Concat", each, { axis: -1n }), e.ints(shape)]);
}

/** 4: products in integers, what is multiplied rounded to int8 in blocks too. 1.3 to 4 times as fast as in floats. */
const ACCURACY_LEVEL = 4n;

/** `x` [..., K], `packed` uint8 [O, blocks, block · bits / 8], `scale` [O, blocks], `bias` [O] or none → [..., O]. */
export const blockLinearDef: CompositeDef<BlockAttrs> = {
  name: "blockLinear",
  infer: ([x, packed, scale, bias], attrs) => {
    checkBlocks("blockLinear", packed!, scale!, attrs);
    const [O] = packed!.shape;
    const fits = x!.shape.at(-1) === attrs.columns && (bias === undefined || sameShape(bias.shape, [O!]));
    check(fits, "E_SHAPE", () => ({
      where: whereNow("blockLinear"),
      expected: `[..., ${attrs.columns}] and a bias [${O}]`,
      got: `${show(x!.shape)}${bias === undefined ? "" : ` and ${show(bias.shape)}`}`,
    }));
    return { dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), O!] };
  },
  expand: ([x, packed, scale, bias], attrs) =>
    linear(x!, dequantizeBlocks(packed!, scale!, attrs), bias ?? null),
  onnx: (e, [x, packed, scale, bias], { bits, block, columns }, out) => {
    if (e.target === "portable") return null;
    return e.node(
      "MatMulNBits",
      [x!, packed!, scale!, ...(bias === undefined ? [] : ["", "", bias])],
      {
        K: BigInt(columns),
        N: BigInt(out.shape.at(-1)!),
        bits: BigInt(bits),
        block_size: BigInt(block),
        accuracy_level: ACCURACY_LEVEL,
      },
      "com.microsoft",
    );
  },
  flops: ([x], out) => 2 * size(out.shape) * x!.shape.at(-1)! + size(out.shape),
};
export const blockLinear = (
  x: Value,
  packed: Value,
  scale: Value,
  bias: Value | null,
  { bits, block }: { readonly bits: number; readonly block: number },
): Value =>
  apply(blockLinearDef, bias === null ? [x, packed, scale] : [x, packed, scale, bias], {
    bits,
    block,
    columns: x.shape.at(-1)!,
  });
