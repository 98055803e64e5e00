import { mkdtemp, readdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { KoalaError } from "../core/errors.ts";
import { compile } from "../engine/compile.ts";
import { labelled } from "../graph/op.ts";
import {
  add,
  gather,
  gelu,
  groupNorm,
  input,
  layerNorm,
  linear,
  param,
  reshape,
  silu,
  sum,
} from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { castFloat, float32, int64, type Tensor } from "../tensor/tensor.ts";
import { engine, engines } from "./engines.ts";
import { cudaStatus, loadOrt, ortEngine, ortStatus, webgpuEngine, webgpuStatus } from "./ort-node.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-ort-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const bytesOf = ({ data }: Tensor): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** All tensors one after another in `path`, after an odd number of bytes. */
async function storeIn(path: string, tensors: Readonly<Record<string, Tensor>>): Promise<TensorStore> {
  const stored = new Map<string, StoredTensor>();
  const parts = [Uint8Array.of(1, 2, 3)];
  let offset = 3;
  for (const [name, t] of Object.entries(tensors)) {
    stored.set(name, { dtype: t.dtype, shape: t.shape, file: path, offset, byteLength: t.data.byteLength });
    parts.push(bytesOf(t) as Uint8Array<ArrayBuffer>);
    offset += t.data.byteLength;
  }
  await writeFile(path, Buffer.concat(parts));
  return { tensors: stored, read: () => Promise.reject(new Error("a tensor in a file was read")) };
}

async function run(
  y: ReturnType<typeof add>,
  store: TensorStore,
  on: Engine,
  feeds: Record<string, Tensor>,
): Promise<number[]> {
  const made = await compile({ y }, { engine: on, store, threads: 1 });
  try {
    return [...((await made.run(feeds)).y?.data ?? [])].map(Number);
  } finally {
    await made.dispose();
  }
}

const x = input("x", { shape: [1, 2] });
const layer = linear(x, param("w", [3, 2]), param("b", [3]));
const w = float32([3, 2], [1, 2, -3, 0.5, 0, 4]);
const b = float32([3], [0.25, 0, -1]);
const feeds = { x: float32([1, 2], [2, 3]) };

test("weights of three types are mapped from where they lie, unaligned and behind a symbolic link", async () => {
  const file = join(folder, "real.bin");
  const store = await storeIn(file, { w: castFloat(w, "float16"), b: castFloat(b, "bfloat16"), c: b });
  const link = join(folder, "link.safetensors");
  await symlink(file, link);
  const linked = new Map([...store.tensors].map(([name, stored]) => [name, { ...stored, file: link }]));
  const y = add(layer, param("c", [3]));
  expect(await run(y, { ...store, tensors: linked }, ortEngine(), feeds)).toEqual([8.5, -4.5, 10]);
});

test("weights in two files, and one in none, are one model", async () => {
  const first = await storeIn(join(folder, "a.bin"), { w });
  const second = await storeIn(join(folder, "b.bin"), { c: b });
  const loose: StoredTensor = { dtype: "float32", shape: [3], file: null, offset: 0, byteLength: 12 };
  const store = {
    tensors: new Map([...first.tensors, ...second.tensors, ["b", loose] as const]),
    read: () => Promise.resolve(b),
  };
  expect(await run(add(layer, param("c", [3])), store, ortEngine(), feeds)).toEqual([8.5, -4.5, 10]);
});

/** 68 MB of weights in no file: more than goes into a model. */
const rows = 17;
const large: Tensor = float32([rows, 1_000_000], new Float32Array(rows * 1_000_000).fill(0.5));
const tripled = float32(large.shape, new Float32Array(rows * 1_000_000).fill(1.5));
const looseStore: TensorStore = {
  tensors: new Map(
    ["p", "q"].map((name) => [
      name,
      { dtype: "float32", shape: large.shape, file: null, offset: 0, byteLength: large.data.byteLength },
    ]),
  ),
  read: (name) => Promise.resolve(name === "p" ? large : tripled),
};
const largeSum = sum(add(param("p", large.shape), param("q", large.shape)), [1], {});
const fromInput = add(reshape(input("x", { shape: [1] }), [1]), largeSum);

test("many weights in no file are spilt to one that is gone after the load", async () => {
  vi.stubEnv("TMPDIR", folder);
  const y = await run(fromInput, looseStore, ortEngine(), { x: float32([1], [1]) });
  expect(y).toEqual(new Array(rows).fill(2_000_001));
  expect(await readdir(folder)).toEqual([]);
});

test("a spill that cannot be written says where", async () => {
  vi.stubEnv("TMPDIR", folder);
  const store = { ...looseStore, read: () => Promise.reject(new Error("no space left")) };
  const failure = run(fromInput, store, ortEngine(), { x: float32([1], [1]) });
  await expect(failure).rejects.toThrow(
    /weights\.bin: expected room for the weights that lie in no file, got no space left \[E_DISK\]\nSet TMPDIR to a folder with more space\.$/,
  );
  expect(await readdir(folder)).toEqual([]);
});

test("a weight that cannot be read is no lack of room", async () => {
  vi.stubEnv("TMPDIR", folder);
  const wrong = new KoalaError("E_WEIGHTS", { where: "w", expected: "all its bytes", got: "half of them" });
  const store = { ...looseStore, read: () => Promise.reject(wrong) };
  await expect(run(fromInput, store, ortEngine(), { x: float32([1], [1]) })).rejects.toBe(wrong);
  expect(await readdir(folder)).toEqual([]);
});

/** A layer of 64 KB, so that its weights are kept beside the model, and its sum on ones. */
const broad = linear(input("x", { shape: [1, 128] }), param("w", [128, 128]), null);
const onOnes = { x: float32([1, 128], new Float32Array(128).fill(1)) };
const filled = (value: number): Tensor => float32([128, 128], new Float32Array(128 * 128).fill(value));

async function runKept(store: TensorStore, cache: string): Promise<{ y: unknown; said: string[] }> {
  const said: string[] = [];
  const made = await compile(
    { y: broad },
    { engine: ortEngine(), store, threads: 1, cache, warn: (message) => said.push(message) },
  );
  try {
    return { y: (await made.run(onOnes)).y?.data[5], said };
  } finally {
    await made.dispose();
  }
}

test("a program is kept, and taken instead of making it again, until its weights change", async () => {
  const [cache, other] = [join(folder, "kept"), join(folder, "other")];
  const file = join(folder, "w.bin");
  const store = await storeIn(file, { w: filled(1) });
  expect(await runKept(store, cache)).toEqual({ y: 128, said: [] });
  const [key = ""] = await readdir(cache);
  expect((await readdir(join(cache, key))).sort()).toEqual(["model.onnx", "record.json", "weights.bin"]);

  // another program in its place shows that it is what runs
  await runKept(await storeIn(join(folder, "two.bin"), { w: filled(2) }), other);
  const [otherKey = ""] = await readdir(other);
  await rm(join(cache, key), { recursive: true });
  await rename(join(other, otherKey), join(cache, key));
  expect(await runKept(store, cache)).toEqual({ y: 256, said: [] });

  expect(await runKept(await storeIn(file, { w: filled(3) }), cache)).toEqual({ y: 384, said: [] });
  expect(await readdir(cache)).toHaveLength(2);
});

test.each([
  { what: "cut weights", damage: (root: string) => truncate(join(root, "weights.bin"), 10) },
  { what: "another model", damage: (root: string) => writeFile(join(root, "model.onnx"), "no program") },
  { what: "no record", damage: (root: string) => rm(join(root, "record.json")) },
])("a kept program with $what is made again, which is said", async ({ damage }) => {
  const cache = join(folder, "kept");
  const store = await storeIn(join(folder, "w.bin"), { w: filled(1) });
  await runKept(store, cache);
  const [key = ""] = await readdir(cache);
  await damage(join(cache, key));
  const said = [`a program kept in ${cache} was damaged: it is made again`];
  expect(await runKept(store, cache)).toEqual({ y: 128, said });
  expect(await runKept(store, cache)).toEqual({ y: 128, said: [] });
});

test("where nothing can be kept, the program is made all the same", async () => {
  const cache = join(folder, "file");
  await writeFile(cache, "");
  const store = await storeIn(join(folder, "w.bin"), { w: filled(1) });
  const { y, said } = await runKept(store, cache);
  expect([y, said]).toEqual([
    128,
    [`no program is kept in ${cache}: EEXIST: file already exists, mkdir '${cache}'`],
  ]);
});

test("the CPU is always there, with its version", () => {
  expect(ortStatus()).toEqual({
    name: "ort",
    isAvailable: true,
    detail: expect.stringMatching(/^ONNX Runtime \d+\.\d+\.\d+, CPU, \d+ threads$/),
  });
});

const howToGetCuda =
  "On Linux (x64) with CUDA 12 and cuDNN 9: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node";

test("CUDA without its provider says how to get it", async () => {
  expect(await cudaStatus(["libonnxruntime.so.1", "onnxruntime_binding.node"])).toEqual({
    name: "cuda",
    isAvailable: false,
    detail: `onnxruntime-node is here without its CUDA provider. ${howToGetCuda}`,
  });
});

test("CUDA's provider that does not run says why", async () => {
  const status = await cudaStatus(["libonnxruntime_providers_cuda.so"]);
  if (status.isAvailable) return; // a card is here
  expect(status.detail).toMatch(new RegExp(`^.+\\. ${howToGetCuda.replace(/[()]/g, "\\$&")}$`));
});

test("a library that does not load is said, with what to do", () => {
  const missing = (): unknown => loadOrt("./no-such-library.cjs");
  expect(missing).toThrow(
    "onnxruntime-node: expected a library that loads here, got Cannot find module './no",
  );
  expect(missing).toThrow(
    "[E_ENGINE]\nReinstall with `npm install onnxruntime-node`; its prebuilt library needs glibc 2.28 on Linux (not musl).",
  );
});

test("what ONNX Runtime refuses at a run is named by its node", async () => {
  const ids = input("ids", { shape: [1], dtype: "int64" });
  const y = labelled("embeddings", () => gather(input("table", { shape: [2, 2] }), ids));
  const store = { tensors: new Map(), read: () => Promise.reject(new Error()) };
  const table = float32([2, 2], [1, 2, 3, 4]);
  await expect(run(y, store, ortEngine(), { table, ids: int64([1], [9]) })).rejects.toThrow(
    /^ort: embeddings\/Gather_0: expected a run without errors, got .*idx=9 must be within the inclusive range.* \[E_ENGINE\]$/s,
  );
});

test("every engine is listed, there or not, and why", async () => {
  const rows = await engines();
  expect(rows.map(({ name }) => name)).toEqual(["ort", "openvino", "webgpu", "cuda"]);
  expect(rows[1]?.detail).toMatch(rows[1]?.isAvailable ? /^OpenVINO 20\d\d\.\d+/ : /OpenVINO|koffi/);
  expect(rows[2]?.detail).toMatch(rows[2]?.isAvailable ? /WebGPU$/ : /^no usable graphics adapter: ./);
});

test("auto is the CPU; an unknown name is told the known ones", async () => {
  expect((await engine("auto")).name).toBe("ort");
  await expect(engine("webgpuu")).rejects.toThrow(
    "engine: expected one of auto, ort, openvino, webgpu, cuda, got webgpuu [E_ENGINE]\nDid you mean webgpu?",
  );
  await expect(engine("toString")).rejects.toThrow(
    "engine: expected one of auto, ort, openvino, webgpu, cuda, got toString [E_ENGINE]",
  );
});

const { isAvailable: hasWebgpu } = await webgpuStatus();

test.skipIf(hasWebgpu)("an engine that is not there says why", async () => {
  await expect(engine("webgpu")).rejects.toThrow(
    /^engine webgpu: expected an engine that runs on this machine, got no usable graphics adapter: .* \[E_ENGINE\]\nHere runs ort(, openvino)?\.$/s,
  );
});

test.skipIf(!hasWebgpu)("a small network on WebGPU alone gives what the CPU gives", async () => {
  const shape = [1, 8, 4, 4];
  const image = input("image", { shape });
  const normal = silu(groupNorm(image, param("c", [8]), param("c", [8]), { groups: 2, eps: 1e-5 }));
  const flat = layerNorm(reshape(normal, [1, 16, 8]), param("c", [8]), param("c", [8]), { eps: 1e-5 });
  const y = gelu(linear(flat, param("m", [4, 8]), null));
  const c = float32([8], [1, -1, 2, 0.5, 3, 0, 1, 2]);
  const m = float32(
    [4, 8],
    Array.from({ length: 32 }, (_, i) => Math.sin(i)),
  );
  const store = await storeIn(join(folder, "w.bin"), { c, m: castFloat(m, "float16") });
  const fed = {
    image: float32(
      shape,
      Array.from({ length: 128 }, (_, i) => Math.cos(i)),
    ),
  };
  const cpu = await run(y, store, ortEngine(), fed);
  const gpu = await run(y, store, webgpuEngine({ isStrict: true }), fed);
  for (const [i, v] of cpu.entries()) expect(gpu[i]).toBeCloseTo(v, 4);
});
