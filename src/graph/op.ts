/**
 * What an operation may know of the world, and the value it makes.
 * A value holds its `OpDef` object, so nothing here needs a table of operations.
 */

import type { DType } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export type Attr = number | string | boolean | null | readonly number[];
export type Attrs = Readonly<Record<string, Attr>>;
export type None = Readonly<Record<string, never>>;

/** A float64 array with its shape: what references compute on. Integers and booleans are numbers too. */
export interface NdArray {
  readonly shape: Shape;
  readonly data: Float64Array;
}

interface OpBase<A extends Attrs> {
  readonly name: string;
  /**
   * Type of the result.
   * @throws KoalaError E_SHAPE
   */
  infer(inputs: readonly TensorType[], attrs: A): TensorType;
  /** Multiply and add count as two. */
  flops(inputs: readonly TensorType[], out: TensorType, attrs: A): number;
}

/** An op with its own reference, gradient and lowering. */
export interface PrimitiveDef<A extends Attrs = Attrs> extends OpBase<A> {
  /** Plain float64 loops: the oracle of the tests and the engine of constant folding. */
  reference(inputs: readonly NdArray[], attrs: A, out: Shape): Float64Array;
  /** Cotangent of each input given that of the result; null where none flows, on purpose. */
  vjp(g: Value, node: Value, attrs: A): readonly (Value | null)[];
  /** Name of the ONNX value that holds the result. */
  onnx(
    e: OnnxEmitter,
    inputs: readonly string[],
    attrs: A,
    out: TensorType,
    types: readonly TensorType[],
  ): string;
}

/** An op defined by its expansion into others, which gives its reference and gradient. */
export interface CompositeDef<A extends Attrs = Attrs> extends OpBase<A> {
  expand(inputs: readonly Value[], attrs: A): Value;
  /** Its own gradient, where that is cheaper than the expansion's; the tests hold both equal. */
  vjp?(g: Value, node: Value, attrs: A): readonly (Value | null)[];
  /** The fused kernel of the target, or null where it has none: then the expansion is lowered. */
  onnx(
    e: OnnxEmitter,
    inputs: readonly string[],
    attrs: A,
    out: TensorType,
    types: readonly TensorType[],
  ): string | null;
}

export type OpDef<A extends Attrs = Attrs> = PrimitiveDef<A> | CompositeDef<A>;

export const isComposite = (op: OpDef): op is CompositeDef => "expand" in op;

/** A node of the graph and the one tensor that it makes. Immutable; `id` grows with creation, so inputs have smaller ids. */
export interface Value {
  readonly id: number;
  readonly op: OpDef;
  readonly inputs: readonly Value[];
  readonly attrs: Attrs;
  readonly type: TensorType;
  readonly shape: Shape;
  /** Where in the model it was made, in checkpoint names: `down_blocks.1.resnets.0`. */
  readonly label: string;
}

/** What a lowering target can run. `portable` is what any ONNX tool reads. */
export type Target = "ort-cpu" | "ort-webgpu" | "openvino" | "portable";

export type OnnxAttr = number | bigint | string | readonly number[] | readonly bigint[];

/** The pen that ops write ONNX with. A float attribute is a `number`, an integer one a `bigint`. */
export interface OnnxEmitter {
  readonly target: Target;
  /** Adds a node; returns the name of its (first) result. An absent optional input is "". `domain` "" is ONNX's own. */
  node(
    type: string,
    inputs: readonly string[],
    attrs?: Readonly<Record<string, OnnxAttr>>,
    domain?: string,
  ): string;
  /** The value in another element type. */
  cast(x: string, dtype: DType): string;
  /** A constant that lives in the model; equal ones are shared. One value fills the whole shape. */
  constant(type: TensorType, values: ArrayLike<number>): string;
  /** A one-dimensional int64 constant: axes, shapes, pads. */
  ints(values: readonly number[]): string;
  /** The weight of that name, in the dtype that the graph asks for, wherever and however it is stored. */
  weight(name: string, type: TensorType): string;
  /** The model input of that name. */
  input(name: string, type: TensorType): string;
}

let nextId = 0;
let currentLabel = "";

/** Makes the node `op(inputs)`, checked by the op's shape rule. */
export function apply<A extends Attrs>(op: OpDef<A>, inputs: readonly Value[], attrs: A): Value {
  const type = op.infer(
    inputs.map((x) => x.type),
    attrs,
  );
  return { id: nextId++, op: op as OpDef, inputs, attrs, type, shape: type.shape, label: currentLabel };
}

/** Runs `build` with every node labelled by `label`: the one ambient state of the package. Graph building is synchronous. */
export function labelled<T>(label: string, build: () => T): T {
  const outer = currentLabel;
  currentLabel = label;
  try {
    return build();
  } finally {
    currentLabel = outer;
  }
}

/** The place to name in an error of `op`: `down_blocks.1.resnets.0 (add)`. */
export const whereNow = (op: string): string => (currentLabel === "" ? op : `${currentLabel} (${op})`);
