import { expect, it } from "vitest";
import type { TensorStore } from "../tensor/stored.ts";
import { castFloat, float32, type Tensor } from "../tensor/tensor.ts";
import { mergedStore } from "./merged.ts";

const of = (shape: number[], ...data: number[]): Tensor => float32(shape, Float32Array.from(data));

function storeOf(tensors: Readonly<Record<string, Tensor>>, adapters?: TensorStore["adapters"]): TensorStore {
  const stored = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    return [name, { dtype, shape, file: "f", offset: 4, byteLength: data.byteLength }] as const;
  });
  return {
    tensors: new Map(stored),
    ...(adapters === undefined ? {} : { adapters }),
    read: async (name) => tensors[name] as Tensor,
  };
}

const w = castFloat(of([2, 2, 1, 1], 1, 2, 3, 4), "float16");
const adapters = new Map([
  [
    "w",
    [
      { down: "d", up: "u", scale: 0.5 },
      { down: "d", up: "u", scale: 1 },
    ],
  ],
]);

it("sums every addition into its weight, and holds nothing else of them", async () => {
  const d = of([1, 2, 1, 1], 2, 4);
  const store = mergedStore(storeOf({ w, v: w, d, u: of([2, 1, 1, 1], 1, 10) }, adapters));
  expect([...store.tensors.keys()]).toEqual(["w", "v"]);
  expect(store.adapters).toBeUndefined();
  expect(store.tensors.get("w")).toEqual({
    ...{ dtype: "float32", shape: [2, 2, 1, 1] },
    ...{ file: null, offset: 0, byteLength: 16 },
  });
  expect(store.tensors.get("v")).toMatchObject({ dtype: "float16", file: "f", offset: 4 });
  expect(await store.read("w")).toEqual(of([2, 2, 1, 1], 4, 8, 33, 64));
  expect(await store.read("v")).toBe(w);
});

it("is the store itself where nothing is added", () => {
  const store = storeOf({ w });
  expect(mergedStore(store)).toBe(store);
});

it("refuses an addition of another layer where it is read", async () => {
  const store = mergedStore(storeOf({ w, d: of([1, 3], 1, 1, 1), u: of([2, 1], 1, 1) }, adapters));
  await expect(store.read("w")).rejects.toThrow(
    "w: expected an adapter of a weight [2, 2, 1, 1], got down [1, 3], up [2, 1] [E_SHAPE]",
  );
});
