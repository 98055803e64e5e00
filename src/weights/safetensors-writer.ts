/**
 * Writes the safetensors format, byte for byte as its reference implementation (0.8) does: names sorted by dtype,
 * then by name, so that every tensor is aligned; the header padded with spaces to a multiple of 8.
 */

import { check } from "../core/assert.ts";
import { type DType, dtypes } from "../tensor/dtype.ts";
import { type Shape, sameShape, show, size } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { encodeUtf8 } from "./utf8.ts";

/** What a file will hold, known before its data is. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface SafetensorsPlan {
  /** In the order in which the data must follow the header. */
  readonly specs: readonly TensorSpec[];
  /** The 8 bytes of length and the header. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Size of the whole file. */
  readonly byteLength: number;
}

/** Widest first, in the reference implementation's order. */
const dtypeOrder: readonly DType[] = [
  "int64",
  "float64",
  "float32",
  "int32",
  "bfloat16",
  "float16",
  "uint16",
  "int16",
  "int8",
  "uint8",
  "bool",
];

const byDtypeThenName = (a: TensorSpec, b: TensorSpec): number =>
  dtypeOrder.indexOf(a.dtype) - dtypeOrder.indexOf(b.dtype) ||
  (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/**
 * Lays out a file: the order of its data, and its header.
 * @throws KoalaError E_WEIGHTS when a name comes twice or is the format's own `__metadata__`
 */
export function planSafetensors(
  specs: Iterable<TensorSpec>,
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsPlan {
  const sorted = [...specs].sort(byDtypeThenName);
  const entries: string[] = [];
  if (Object.keys(metadata).length > 0) {
    const keys = Object.keys(metadata).sort();
    entries.push(
      `"__metadata__":${JSON.stringify(Object.fromEntries(keys.map((key) => [key, metadata[key]])))}`,
    );
  }
  const seen = new Set(["__metadata__"]);
  let offset = 0;
  for (const { name, dtype, shape } of sorted) {
    check(!seen.has(name), "E_WEIGHTS", () => ({
      where: "safetensors",
      expected: "every tensor under a name of its own",
      got: `"${name}" again`,
    }));
    seen.add(name);
    const end = offset + size(shape) * dtypes[dtype].bytes;
    const info = { dtype: dtypes[dtype].safetensors, shape, data_offsets: [offset, end] };
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
    offset = end;
  }
  const json = encodeUtf8(`{${entries.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return { specs: sorted, header, byteLength: header.length + offset };
}

/**
 * The file of `plan`, piece by piece: the header, then one tensor after another as `load` gives them, so that no more
 * than one is in memory.
 * @throws KoalaError E_WEIGHTS when a tensor is not what the plan says
 */
export async function* streamSafetensors(
  plan: SafetensorsPlan,
  load: (spec: TensorSpec) => Tensor | Promise<Tensor>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  yield plan.header;
  for (const spec of plan.specs) yield bytesOf(await load(spec), spec);
}

/** A whole file in memory, for small ones. */
export function serializeSafetensors(
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const plan = planSafetensors(
    Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    metadata,
  );
  const out = new Uint8Array(plan.byteLength);
  out.set(plan.header);
  let offset = plan.header.length;
  for (const spec of plan.specs) {
    const bytes = bytesOf(tensors[spec.name] as Tensor, spec);
    out.set(bytes, offset);
    offset += bytes.length;
  }
  return out;
}

function bytesOf({ dtype, shape, data }: Tensor, spec: TensorSpec): Uint8Array<ArrayBuffer> {
  check(dtype === spec.dtype && sameShape(shape, spec.shape), "E_WEIGHTS", () => ({
    where: spec.name,
    expected: `${spec.dtype} ${show(spec.shape)}, as planned`,
    got: `${dtype} ${show(shape)}`,
  }));
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
