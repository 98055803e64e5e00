/**
 * A Keras network as TensorFlow.js stores it (topology as JSON, weights as bytes) → a graph of ours: the layers of
 * MobileNetV2 and no others. Layouts are turned from channels last to channels first.
 */

import { KoalaError } from "../core/errors.ts";
import type { Value } from "../graph/op.ts";
import {
  add,
  clamp,
  conv,
  input,
  linear,
  mean,
  mul,
  pad,
  param,
  relu,
  reshape,
  slice,
  softmax,
} from "../ops/index.ts";
import { type Shape, size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";

type Pair = readonly [number, number];

interface Layer {
  readonly name: string;
  readonly class_name: string;
  readonly config: {
    readonly batch_input_shape?: readonly (number | null)[];
    readonly padding?: "same" | "valid" | readonly [Pair, Pair];
    readonly strides?: Pair;
    readonly pool_size?: Pair;
    readonly epsilon?: number;
    readonly max_value?: number | null;
    readonly activation?: string;
  };
  /** The layers that it reads, in the one call that there is. */
  readonly inbound_nodes: readonly (readonly (readonly [string, ...unknown[]])[])[];
}

export interface KerasModel {
  readonly modelTopology: {
    readonly model_config: { readonly config: { readonly layers: readonly Layer[] } };
  };
  readonly weightsManifest: readonly {
    readonly weights: readonly {
      readonly name: string;
      readonly shape: Shape;
      readonly quantization?: { readonly min: number; readonly scale: number };
    }[];
  }[];
}

export interface KerasGraph {
  /** Pixels of a side of the square that it sees: input `picture` [1, 3, side, side], values 0 to 1. */
  readonly side: number;
  /** [1, classes]; they sum to 1. */
  readonly said: Value;
  readonly store: TensorStore;
}

/** The weights by name, in Keras' layouts. Quantized ones are a byte each. */
function weightsOf({ weightsManifest }: KerasModel, bytes: Uint8Array): ReadonlyMap<string, Tensor> {
  const found = new Map<string, Tensor>();
  let at = 0;
  for (const { name, shape, quantization } of weightsManifest.flatMap(({ weights }) => weights)) {
    const length = size(shape);
    if (quantization === undefined) {
      found.set(name, float32(shape, new Float32Array(bytes.slice(at, at + 4 * length).buffer)));
      at += 4 * length;
    } else {
      const { min, scale } = quantization;
      found.set(
        name,
        float32(
          shape,
          Float32Array.from(bytes.subarray(at, at + length), (q) => q * scale + min),
        ),
      );
      at += length;
    }
  }
  return found;
}

/** Axes in another order. */
function permuted({ shape, data }: Tensor, order: readonly number[]): Tensor {
  const to = order.map((axis) => shape[axis] ?? 1);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((n, d) => n * d, 1));
  const out = new Float32Array(data.length);
  for (let i = 0; i < out.length; i++) {
    let rest = i;
    let from = 0;
    for (let axis = to.length - 1; axis >= 0; axis--) {
      const length = to[axis] ?? 1;
      from += (rest % length) * (strides[order[axis] ?? 0] ?? 1);
      rest = Math.floor(rest / length);
    }
    out[i] = Number(data[from]);
  }
  return float32(to, out);
}

const cut = (x: Value, axis: number, start: number, end: number): Value => slice(x, { axis, start, end });

/** Every second row and column, beginning with the first. `x` [1, C, H, W] → [1, C, ⌈H / 2⌉, ⌈W / 2⌉] */
function halved(x: Value): Value {
  const [, channels = 1, height = 1, width = 1] = x.shape;
  const [rows, columns] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const even = pad(x, { before: [0, 0, 0, 0], after: [0, 0, 2 * rows - height, 2 * columns - width] });
  const pairs = reshape(even, [channels, rows, 2, columns, 2]);
  return reshape(cut(cut(pairs, 2, 0, 1), 4, 0, 1), [1, channels, rows, columns]);
}

/** A filter of its own for each channel, written out as the sum of its taps: `x` [1, C, H, W], `weight` [k, k, C]. */
function depthwise(x: Value, weight: Value, stride: number): Value {
  const [kernel = 1, , channels = 1] = weight.shape;
  const [, , height = 1, width = 1] = x.shape;
  const [rows, columns] = [height - kernel + 1, width - kernel + 1];
  const taps: Value[] = [];
  for (let i = 0; i < kernel; i++)
    for (let j = 0; j < kernel; j++) {
      const tap = reshape(cut(cut(weight, 0, i, i + 1), 1, j, j + 1), [1, channels, 1, 1]);
      taps.push(mul(cut(cut(x, 2, i, i + rows), 3, j, j + columns), tap));
    }
  const sum = taps.reduce((a, b) => add(a, b));
  return stride === 2 ? halved(sum) : sum;
}

/** @throws KoalaError E_MODEL for a layer that is not of this kind of network */
export function kerasGraph(model: KerasModel, bytes: Uint8Array): KerasGraph {
  const weights = weightsOf(model, bytes);
  const turned = new Map<string, Tensor>();
  const unknown = (layer: string, got: string): KoalaError =>
    new KoalaError("E_MODEL", { where: `layer ${layer}`, expected: "one that MobileNetV2 has", got });

  /** A weight as a parameter; `order` are Keras' axes in our order. */
  function weight(name: string, order?: readonly number[], shape?: Shape): Value {
    const its = weights.get(name);
    if (its === undefined) throw unknown(name, "no weight of that name");
    const own = order === undefined ? its : permuted(its, order);
    turned.set(name, shape === undefined ? own : float32(shape, own.data as Float32Array));
    return param(name, shape ?? own.shape);
  }
  const values = new Map<string, Value>();
  let side = 0;

  function apply({ name, class_name: kind, config, inbound_nodes: [inbound = []] }: Layer): Value {
    const inputs = inbound.map(([from]) => values.get(from) as Value);
    const x = inputs[0] as Value;
    const { padding, strides: [stride] = [1] } = config;
    const edge = padding === "same" ? 1 : 0; // of 3 x 3 at stride 1, the only ones that are padded so
    switch (kind) {
      case "InputLayer":
        side = config.batch_input_shape?.[1] ?? 0;
        return input("picture", { shape: [1, 3, side, side] });
      case "ZeroPadding2D": {
        if (!Array.isArray(padding)) throw unknown(name, "padding of another form");
        const [[top, bottom], [left, right]] = padding as [Pair, Pair];
        return pad(x, { before: [0, 0, top, left], after: [0, 0, bottom, right] });
      }
      case "Conv2D": {
        const kernel = weight(`${name}/kernel`, [3, 2, 0, 1]);
        return conv(x, kernel, null, { stride, pad: kernel.shape[2] === 3 ? edge : 0 });
      }
      case "DepthwiseConv2D": {
        const [kernel = 1, , channels = 1] = weights.get(`${name}/depthwise_kernel`)?.shape ?? [];
        const its = weight(`${name}/depthwise_kernel`, undefined, [kernel, kernel, channels]);
        const framed = pad(x, { before: [0, 0, edge, edge], after: [0, 0, edge, edge] });
        return depthwise(framed, its, stride);
      }
      case "BatchNormalization": {
        const of = (part: string): Float32Array => weights.get(`${name}/${part}`)?.data as Float32Array;
        const [gamma, beta, at, spread] = [of("gamma"), of("beta"), of("moving_mean"), of("moving_variance")];
        const scale = gamma.map((g, c) => g / Math.sqrt((spread[c] ?? 1) + (config.epsilon ?? 0)));
        const shape = [1, gamma.length, 1, 1];
        turned.set(`${name}/scale`, float32(shape, scale));
        turned.set(
          `${name}/shift`,
          float32(
            shape,
            beta.map((b, c) => b - (at[c] ?? 0) * (scale[c] ?? 0)),
          ),
        );
        return add(mul(x, param(`${name}/scale`, shape)), param(`${name}/shift`, shape));
      }
      case "ReLU":
        return typeof config.max_value === "number" ? clamp(x, 0, config.max_value) : relu(x);
      case "Add":
        return inputs.reduce((a, b) => add(a, b));
      case "AveragePooling2D":
        if (config.pool_size?.[0] !== x.shape[2]) throw unknown(name, "a window smaller than the map");
        return mean(x, [2, 3]);
      case "Flatten":
      case "Dropout":
        return x;
      case "Dense": {
        const y = linear(x, weight(`${name}/kernel`, [1, 0]), weight(`${name}/bias`));
        if (config.activation === "relu") return relu(y);
        if (config.activation === "softmax") return softmax(y, -1);
        throw unknown(name, `activation ${config.activation}`);
      }
      default:
        throw unknown(name, kind);
    }
  }

  let last: Value | undefined;
  for (const layer of model.modelTopology.model_config.config.layers) {
    last = apply(layer);
    values.set(layer.name, last);
  }
  const stored = (t: Tensor): StoredTensor => ({
    ...{ dtype: "float32", shape: t.shape, file: null, offset: 0, byteLength: 4 * size(t.shape) },
  });
  return {
    ...{ side, said: last as Value },
    store: {
      tensors: new Map([...turned].map(([name, its]) => [name, stored(its)])),
      read: async (name) => turned.get(name) as Tensor,
    },
  };
}
