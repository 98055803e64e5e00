/**
 * A graph as an ONNX model for one target. Each op writes itself with the pen made here; what is decided here, and
 * nowhere else: operator set versions, names, sharing of constants, and how weights are stored against how they are used.
 */

import { check } from "../core/assert.ts";
import { numberText } from "../core/number-text.ts";
import {
  isComposite,
  labelled,
  type OnnxEmitter,
  type Target,
  type TensorType,
  type Value,
} from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { allocate, type DType, dtypes } from "../tensor/dtype.ts";
import { numberToBfloat16, numberToFloat16 } from "../tensor/float16.ts";
import { sameShape, show, size } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/stored.ts";
import { encodeModel, type ProtoNode, type ProtoTensor } from "./proto.ts";

/**
 * Operator sets: 21 is the first whose GroupNormalization has one scale a channel; IR 10 came with it
 * (ONNX 1.16, docs/Versioning.md). Every engine here reads them.
 */
const OPSET = 21;
const IR_VERSION = 10;
const CONTRIB_VERSION = 1;

export interface LowerOptions {
  readonly target: Target;
  /** How each weight is stored, by name. */
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

export interface LoweredModel {
  /** A `ModelProto` without its weights: see `withWeights`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Names of the weights that it uses, in order of first use. */
  readonly weights: readonly string[];
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
}

/**
 * The model whose results are `outputs`, by name.
 * @throws KoalaError E_GRAPH when names collide, E_WEIGHTS when a weight is missing or of another shape
 */
export function lower(outputs: Readonly<Record<string, Value>>, o: LowerOptions): LoweredModel {
  const pen = new Pen(o);
  const names = new Map<Value, string>();
  lowerAll(Object.values(outputs), pen, names);
  pen.failOnBadWeights();

  const renamed = new Map<string, string>();
  for (const [output, value] of Object.entries(outputs)) pen.name(names.get(value) ?? "", output, renamed);
  const called = (name: string): string => renamed.get(name) ?? name;

  const types = Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, value.type]));
  const ports = (of: Readonly<Record<string, TensorType>>) =>
    Object.entries(of).map(([name, type]) => ({ name, ...type }));
  const inputs = Object.fromEntries(pen.inputs);
  const bytes = encodeModel({
    irVersion: IR_VERSION,
    opsets: { "": OPSET, ...(pen.hasContrib ? { "com.microsoft": CONTRIB_VERSION } : {}) },
    nodes: pen.nodes.map((n) => ({ ...n, inputs: n.inputs.map(called), outputs: n.outputs.map(called) })),
    initializers: [...pen.constants.values()],
    inputs: ports(inputs),
    outputs: ports(types),
  });
  return { bytes, weights: [...pen.weights.keys()], inputs, outputs: types };
}

/** Writes what `values` rest on, in the order of creation. An expansion is a graph of its own, at most a few deep. */
function lowerAll(values: readonly Value[], pen: Pen, names: Map<Value, string>): void {
  for (const value of topological(values, names)) {
    const { op, attrs, type, label } = value;
    pen.label = label;
    const inputs = value.inputs.map((x) => names.get(x) ?? "");
    const types = value.inputs.map((x) => x.type);
    if (!isComposite(op)) {
      names.set(value, op.onnx(pen, inputs, attrs, type, types));
      continue;
    }
    const fused = op.onnx(pen, inputs, attrs, type, types);
    if (fused !== null) {
      names.set(value, fused);
      continue;
    }
    const body = labelled(label, () => op.expand(value.inputs, attrs));
    lowerAll([body], pen, names);
    names.set(value, names.get(body) ?? "");
  }
}

/** Names of results begin with % and of constants with #, which no checkpoint name does. */
class Pen implements OnnxEmitter {
  readonly target: Target;
  readonly nodes: ProtoNode[] = [];
  readonly constants: Map<string, ProtoTensor> = new Map();
  readonly inputs: Map<string, TensorType> = new Map();
  /** The value that carries each weight in the graph's element type. */
  readonly weights: Map<string, string> = new Map();
  hasContrib = false;
  label = "";
  private readonly stored: ReadonlyMap<string, StoredTensor>;
  private readonly badWeights: string[] = [];

  constructor(o: LowerOptions) {
    this.target = o.target;
    this.stored = o.weights;
  }

  node(type: string, inputs: readonly string[], attrs: ProtoNode["attrs"] = {}, domain = ""): string {
    const output = `%${this.nodes.length}`;
    const place = this.label === "" ? type : `${this.label}/${type}`;
    this.nodes.push({
      name: `${place}_${this.nodes.length}`,
      type,
      domain,
      inputs,
      outputs: [output],
      attrs,
    });
    if (domain !== "") this.hasContrib = true;
    return output;
  }

  cast(x: string, dtype: DType): string {
    return this.node("Cast", [x], { to: BigInt(dtypes[dtype].onnx) });
  }

  constant(type: TensorType, values: ArrayLike<number>): string {
    const key = `${type.dtype} ${show(type.shape)} ${Array.from(values, numberText).join(" ")}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known.name;
    const name = `#${this.constants.size}`;
    const bytes = encodeValues(type, values);
    this.constants.set(key, { name, ...type, data: { kind: "inline", bytes } });
    return name;
  }

  ints(values: readonly number[]): string {
    return this.constant({ dtype: "int64", shape: [values.length] }, values);
  }

  weight(name: string, type: TensorType): string {
    const known = this.weights.get(name);
    if (known !== undefined) return known;
    const stored = this.stored.get(name);
    if (stored === undefined) this.badWeights.push(`${name} missing`);
    else if (!sameShape(stored.shape, type.shape))
      this.badWeights.push(`${name} ${show(stored.shape)} for ${show(type.shape)}`);
    const used = stored === undefined || stored.dtype === type.dtype ? name : this.cast(name, type.dtype);
    this.weights.set(name, used);
    return used;
  }

  input(name: string, type: TensorType): string {
    this.inputs.set(name, type);
    return name;
  }

  /** Makes `output` the name of a result; what is not made by a node of its own goes through an Identity. */
  name(result: string, output: string, renamed: Map<string, string>): void {
    check(!this.inputs.has(output) && !this.weights.has(output), "E_GRAPH", () => ({
      where: `output ${output}`,
      expected: "a name that no input and no weight has",
      got: "one that is taken",
    }));
    if (result.startsWith("%") && !renamed.has(result)) renamed.set(result, output);
    else renamed.set(this.node("Identity", [result]), output);
  }

  failOnBadWeights(): void {
    const bad = this.badWeights;
    check(bad.length === 0, "E_WEIGHTS", () => ({
      where: "weights",
      expected: `the ${this.weights.size} tensors that the graph names, in its shapes`,
      got: `${bad.slice(0, 8).join(", ")}${bad.length > 8 ? ` and ${bad.length - 8} more` : ""}`,
    }));
  }
}

/** Row-major bytes; one value fills the whole shape. */
function encodeValues({ dtype, shape }: TensorType, values: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const data = allocate(dtype, size(shape));
  const encode = (x: number): number =>
    dtype === "float16" ? numberToFloat16(x) : dtype === "bfloat16" ? numberToBfloat16(x) : x;
  const single = values.length === 1;
  for (let i = 0; i < data.length; i++) {
    const x = values[single ? 0 : i] ?? 0;
    if (data instanceof BigInt64Array) data[i] = BigInt(x);
    else data[i] = encode(x);
  }
  return new Uint8Array(data.buffer);
}
