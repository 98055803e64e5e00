/** A store of floats seen through a recipe: integers and scales are made when they are read, one weight at a time. */

import { check } from "../core/assert.ts";
import { type DType, dtypes } from "../tensor/dtype.ts";
import { type LayerRecipe, type Recipe, scaleName, storedForm } from "../tensor/quantized.ts";
import { type Shape, size } from "../tensor/shape.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { castFloat, type Tensor } from "../tensor/tensor.ts";
import { type Packed, pack } from "./pack.ts";

const unplaced = (dtype: DType, shape: Shape): StoredTensor => ({
  ...{ dtype, shape, file: null, offset: 0 },
  byteLength: size(shape) * dtypes[dtype].bytes,
});

/** Norms and biases are small and matter; matrices that stay floats are halved. */
const keptType = ({ dtype, shape }: StoredTensor): DType =>
  shape.length > 1 && dtype === "float32" ? "float16" : dtype;

/** The bits of the infinities of float16, without the sign. */
const INFINITY = 0x7c00;

function halved(name: string, tensor: Tensor): Tensor {
  const half = castFloat(tensor, "float16");
  check(
    (half.data as Uint16Array).every((bits) => (bits & 0x7fff) < INFINITY),
    "E_WEIGHTS",
    () => ({
      where: name,
      expected: "finite numbers that float16 holds, up to 65504",
      got: "larger ones, or NaN",
    }),
  );
  return half;
}

/**
 * `source` with the weights that `recipe` names as integers. The others are as they are; with `isHalved`, matrices among
 * them as float16.
 */
export function quantizedStore(
  source: TensorStore,
  recipe: Recipe,
  o: { readonly isHalved?: boolean } = {},
): TensorStore {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, stored] of source.tensors) {
    const how = recipe.layers[name];
    if (how === undefined) {
      const dtype = o.isHalved === true ? keptType(stored) : stored.dtype;
      tensors.set(name, dtype === stored.dtype ? stored : unplaced(dtype, stored.shape));
      continue;
    }
    const form = storedForm(stored.shape, how);
    tensors.set(name, unplaced(form.dtype, form.shape));
    tensors.set(scaleName(name), unplaced(how.kind === "blocks" ? "float16" : "float32", form.scale));
  }

  // an engine reads a weight and its scales in turn; a file has all scales first
  let last: { readonly name: string; readonly packed: Packed } | null = null;
  const scales = new Map<string, Tensor>();
  const packed = async (name: string, how: LayerRecipe): Promise<Packed> => {
    if (last?.name !== name) last = { name, packed: pack(await source.read(name), how, scales.get(name)) };
    scales.set(name, last.packed.scale);
    return last.packed;
  };
  const owners = new Map(Object.keys(recipe.layers).map((name) => [scaleName(name), name]));

  async function read(name: string): Promise<Tensor> {
    const owner = owners.get(name) ?? name;
    const how = recipe.layers[owner];
    if (how !== undefined) return (await packed(owner, how))[name === owner ? "weight" : "scale"];
    const tensor = await source.read(name);
    return tensors.get(name)?.dtype === "float16" ? halved(name, tensor) : tensor;
  }

  return { ...source, tensors, read, recipe };
}
