/**
 * A graph of float weights as the graph of the integers that a recipe says are stored in their place. The law: every output
 * has the values that the float graph has when its weights are the numbers that the integers stand for, and what the layers
 * of kind `channels` read, and give where the recipe says so, is rounded as it says.
 */

import { check } from "../core/assert.ts";
import { labelled, type Target, type Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import {
  blockLinear,
  conv,
  dequantize,
  dequantizeBlocks,
  gather,
  integerConv,
  integerLinear,
  linear,
  param,
  reshape,
  quantize as round,
} from "../ops/index.ts";
import {
  type BlocksRecipe,
  type ChannelsRecipe,
  type Recipe,
  scaleName,
  storedForm,
} from "../tensor/quantized.ts";
import { size } from "../tensor/shape.ts";
import { type Outputs, rewrite } from "./rewrite.ts";

/** Targets without kernels for products of integers: `channels` weights are read there, activations stay floats. */
const FLOAT_ONLY: ReadonlySet<Target> = new Set(["ort-webgpu"]);

export type LayerKind = "linear" | "conv" | "table";

/** A weight that can be stored as integers: one node alone reads it, as a matrix, a kernel or a table. */
export interface QuantizableLayer {
  /** The weight's name. */
  readonly weight: string;
  readonly kind: LayerKind;
  /** [O, ...]: scales belong to rows. */
  readonly shape: readonly number[];
  readonly node: Value;
  /** What the layer reads beside its weights; ids, for a table. */
  readonly input: Value;
}

const operands: Readonly<Record<string, { kind: LayerKind; weight: number; input: number }>> = {
  linear: { kind: "linear", weight: 1, input: 0 },
  conv: { kind: "conv", weight: 1, input: 0 },
  gather: { kind: "table", weight: 0, input: 1 },
};

function layerOf(node: Value): QuantizableLayer | null {
  const facts = operands[node.op.name];
  if (facts === undefined) return null;
  const weight = node.inputs[facts.weight];
  const input = node.inputs[facts.input];
  if (weight?.op.name !== "param" || input === undefined) return null;
  return { weight: weight.attrs.name as string, kind: facts.kind, shape: weight.shape, node, input };
}

/** Every layer of a graph whose weight can be stored as integers, in graph order. */
export function quantizableLayers(outputs: Outputs): QuantizableLayer[] {
  const order = topological(Object.values(outputs));
  const readers = new Map<Value, number>();
  for (const { inputs } of order) for (const x of inputs) readers.set(x, (readers.get(x) ?? 0) + 1);
  return order.flatMap((node) => {
    const layer = layerOf(node);
    const weight = layer === null ? undefined : node.inputs[operands[node.op.name]?.weight ?? 0];
    return layer !== null && weight !== undefined && readers.get(weight) === 1 ? [layer] : [];
  });
}

/**
 * The graph with the weights that `recipe` names as integers; a weight that the graph does not have is no concern of it.
 * @throws KoalaError E_WEIGHTS when the recipe does not fit how a weight is used
 */
export function quantize(outputs: Outputs, recipe: Recipe, target: Target): Outputs {
  return rewrite(outputs, (node) => {
    const layer = layerOf(node);
    const how = layer === null ? undefined : recipe.layers[layer.weight];
    if (layer === null || how === undefined) return node;
    return labelled(node.label, () =>
      how.kind === "blocks" ? inBlocks(layer, how) : inChannels(layer, how, FLOAT_ONLY.has(target)),
    );
  });
}

const biasOf = ({ node }: QuantizableLayer): Value | null => node.inputs[2] ?? null;

/** Of a convolution's own attributes. */
function windowOf({ node }: QuantizableLayer): Parameters<typeof conv>[3] {
  const { stride, dilation, pad } = node.attrs as Record<string, readonly number[]>;
  return {
    stride: stride?.[0] ?? 1,
    dilation: dilation?.[0] ?? 1,
    pad: pad as unknown as readonly [number, number, number, number],
  };
}

function inBlocks(layer: QuantizableLayer, how: BlocksRecipe): Value {
  const { bits, block } = how;
  const { weight, shape, input, kind } = layer;
  const form = storedForm(shape, how);
  const [rows = 1, blocks = 1, bytes = 1] = form.shape;
  const columns = size(shape.slice(1));
  const packed = param(weight, form.shape, form.dtype);
  const scale = param(scaleName(weight), form.scale);
  if (kind === "linear") return blockLinear(input, packed, scale, biasOf(layer), { bits, block });
  if (kind === "conv") {
    const kernel = reshape(dequantizeBlocks(packed, scale, { bits, block, columns }), shape);
    return conv(input, kernel, biasOf(layer), windowOf(layer));
  }
  // only the rows that are read are made floats
  const ids = size(input.shape);
  const own = gather(reshape(packed, [rows, blocks * bytes]), input);
  const values = dequantizeBlocks(
    reshape(own, [ids, blocks, bytes]),
    reshape(gather(scale, input), [ids, blocks]),
    { bits, block, columns },
  );
  return reshape(values, [...input.shape, columns]);
}

function inChannels(layer: QuantizableLayer, how: ChannelsRecipe, isFloatOnly: boolean): Value {
  const { weight, shape, input, kind } = layer;
  check(kind !== "table", "E_WEIGHTS", () => ({
    where: weight,
    expected: "a table stored in blocks",
    got: "a scale an output channel",
  }));
  const form = storedForm(shape, how);
  const integers = param(weight, form.shape, form.dtype);
  const scale = param(scaleName(weight), form.scale);
  if (isFloatOnly) {
    const floats = dequantize(integers, scale);
    return kind === "linear"
      ? linear(input, floats, biasOf(layer))
      : conv(input, floats, biasOf(layer), windowOf(layer));
  }
  const x = round(input, how.input);
  if (kind === "linear") return integerLinear(x, integers, scale, biasOf(layer), how.input);
  const output = how.output === undefined ? {} : { output: how.output };
  return integerConv(x, integers, scale, biasOf(layer), { ...windowOf(layer), input: how.input, ...output });
}
