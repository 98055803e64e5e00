import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { compile } from "../engine/compile.ts";
import { encodeModel } from "../onnx/proto.ts";
import { add, exp, input, linear, matmul, mul, param, reshape, sum } from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { castFloat, float32, int64, type Tensor } from "../tensor/tensor.ts";
import { readOnlyMappings } from "./mapped-pages.ts";
import { openvinoEngine, openvinoStatus } from "./openvino.ts";
import { openvinoLibraries, type Place } from "./openvino-find.ts";
import { openOpenVino } from "./openvino-library.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-openvino-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

/** A machine with these files and nothing else. */
const machine = (files: readonly string[], env: Place["env"] = {}): Place => ({
  env,
  home: "/home/ada",
  platform: "linux",
  list: (of) => [
    ...new Set(
      files.flatMap((file) =>
        file.startsWith(`${of}/`) ? [file.slice(of.length + 1).split("/")[0] ?? ""] : [],
      ),
    ),
  ],
});
const wheel = (prefix: string): string =>
  `${prefix}/lib/python3.12/site-packages/openvino/libs/libopenvino_c.so.2641`;
const archive = "/opt/intel/openvino_2026.4.1/runtime/lib/intel64/libopenvino_c.so";
const system = "/usr/lib/x86_64-linux-gnu/libopenvino_c.so.2640";

describe("where the library is looked for", () => {
  it("is the active Python environment, those on the path, the user's, /opt/intel and the system, in this order", () => {
    const files = [
      system,
      archive,
      wheel("/home/ada/.local"),
      wheel("/opt/py"),
      wheel("/venv"),
      "/opt/py/bin/python3",
    ];
    const env = { VIRTUAL_ENV: "/venv", PATH: "/bin:/opt/py/bin" };
    expect(openvinoLibraries(machine(files, env))).toEqual([
      wheel("/venv"),
      wheel("/home/ada/.local"),
      wheel("/opt/py"),
      archive,
      system,
    ]);
  });

  it("is OPENVINO_DIR alone where that is set: an archive, a wheel's folder, or the libraries' own", () => {
    const files = [archive, wheel("/venv"), system];
    const found = (OPENVINO_DIR: string): string[] =>
      openvinoLibraries(machine(files, { OPENVINO_DIR, VIRTUAL_ENV: "/venv" }));
    expect(found("/opt/intel/openvino_2026.4.1")).toEqual([archive]);
    expect(found("/venv/lib/python3.12/site-packages/openvino")).toEqual([wheel("/venv")]);
    expect(found("/usr/lib/x86_64-linux-gnu")).toEqual([system]);
    expect(found("/nowhere")).toEqual([]);
  });

  it("is nowhere on a system whose libraries have other names", () => {
    expect(openvinoLibraries({ ...machine([system]), platform: "win32" })).toEqual([]);
  });
});

describe("an OpenVINO that cannot be had", () => {
  const remedy =
    "Install it with `pip install openvino` in a virtual environment that is active, or set OPENVINO_DIR to its folder.";

  it("is said where there is none", async () => {
    vi.stubEnv("OPENVINO_DIR", "");
    await expect(openOpenVino({ libraries: [] })).rejects.toThrow(
      `openvino: expected OpenVINO's library, got no OpenVINO in the active Python environment, /opt/intel or the system's libraries [E_ENGINE]\n${remedy}`,
    );
    vi.stubEnv("OPENVINO_DIR", "/nowhere");
    await expect(openOpenVino()).rejects.toThrow(
      `openvino: expected OpenVINO's library, got no OpenVINO in OPENVINO_DIR, which is /nowhere [E_ENGINE]\n${remedy}`,
    );
  });

  it("is said where koffi is missing", async () => {
    await expect(openOpenVino({ koffi: "no-such-package" })).rejects.toThrow(
      "openvino: expected OpenVINO's library, got no package koffi, through which it is called [E_ENGINE]\nInstall it with `npm install koffi`.",
    );
  });

  it("is said with the loader's words where it does not load", async () => {
    const broken = join(folder, "libopenvino_c.so.1");
    await writeFile(broken, "no library");
    await expect(openOpenVino({ libraries: [broken] })).rejects.toThrow(
      new RegExp(`^openvino: expected OpenVINO's library, got ${broken}: .+ \\[E_ENGINE\\]\\n`),
    );
  });

  it("is said with its version and the oldest that serves", async () => {
    const fake = join(folder, "koffi.mjs");
    await writeFile(
      fake,
      `export const config = () => {};
       export const struct = () => {};
       export const decode = () => "2024.6.0-17404-4c0f47d2335-releases/2024/6";
       export const load = () => ({ func: () => () => 0 });`,
    );
    await expect(openOpenVino({ koffi: fake, libraries: ["/old/libopenvino_c.so.2460"] })).rejects.toThrow(
      `openvino: expected OpenVINO's library, got OpenVINO 2024.6.0 in /old/libopenvino_c.so.2460, where 2026.4 or newer is needed [E_ENGINE]\n${remedy}`,
    );
  });

  it("is a row of koala engines", async () => {
    const status = await openvinoStatus(() => openOpenVino({ koffi: "no-such-package" }));
    expect(status).toEqual({
      name: "openvino",
      isAvailable: false,
      detail: "no package koffi, through which it is called. Install it with `npm install koffi`.",
    });
  });
});

test("only mappings of the named files that cannot be written to are given back", () => {
  const maps = [
    "7f00000000-7f00001000 r--s 00000000 fe:00 11 /models/a b.safetensors",
    "7f00002000-7f00003000 rw-p 00000000 fe:00 11 /models/a b.safetensors",
    "7f00004000-7f00007000 r--p 00000000 fe:00 12 /lib/other",
    "7f00008000-7f0000a000 r--p 00000000 00:00 0 ",
  ].join("\n");
  expect(readOnlyMappings(maps, new Set(["/models/a b.safetensors"]))).toEqual([
    { start: 0x7f00000000n, length: 0x1000n },
  ]);
});

const { isAvailable, detail } = await openvinoStatus();
if (!isAvailable) process.stderr.write(`Tests of the engine openvino are skipped: ${detail}\n`);

/** All tensors one after another in `path`, after an odd number of bytes. */
async function storeIn(path: string, tensors: Readonly<Record<string, Tensor>>): Promise<TensorStore> {
  const stored = new Map<string, StoredTensor>();
  const parts = [Buffer.of(1, 2, 3)];
  let offset = 3;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    stored.set(name, { dtype, shape, file: path, offset, byteLength: data.byteLength });
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }
  await writeFile(path, Buffer.concat(parts));
  return { tensors: stored, read: () => Promise.reject(new Error("a tensor in a file was read")) };
}

describe.skipIf(!isAvailable)("the engine openvino", () => {
  const engineOf = (): Promise<Engine> => openvinoEngine();
  const none: TensorStore = { tensors: new Map(), read: () => Promise.reject(new Error("no weights")) };
  const layer = linear(input("x", { shape: [1, 2] }), param("w", [3, 2]), param("b", [3]));
  const w = float32([3, 2], [1, 2, -3, 0.5, 0, 4]);
  const b = float32([3], [0.25, 0, -1]);
  const feeds = { x: float32([1, 2], [2, 3]) };

  it("maps weights of three types from where they lie, unaligned, behind a link, from another folder than this", async () => {
    const file = join(folder, "real.bin");
    const store = await storeIn(file, { w: castFloat(w, "float16"), b: castFloat(b, "bfloat16"), c: b });
    const link = join(folder, "link.safetensors");
    await symlink(file, link);
    const linked = new Map([...store.tensors].map(([name, stored]) => [name, { ...stored, file: link }]));
    const before = process.cwd();
    const made = await compile(
      { y: add(layer, param("c", [3])) },
      { engine: await engineOf(), store: { ...store, tensors: linked }, threads: 1 },
    );
    expect(process.cwd()).toBe(before);
    expect(existsSync("package.json")).toBe(true); // the system's idea of the folder, too
    expect([...((await made.run(feeds)).y?.data ?? [])]).toEqual([8.5, -4.5, 10]);
    await made.dispose();
  });

  it("takes weights that lie in no file, many of them through one that is gone after the load", async () => {
    vi.stubEnv("TMPDIR", folder);
    const rows = 17;
    const large = float32([rows, 1_000_000], new Float32Array(rows * 1_000_000).fill(0.5));
    const loose = (t: Tensor): StoredTensor => ({
      ...{ dtype: t.dtype, shape: t.shape, file: null, offset: 0, byteLength: t.data.byteLength },
    });
    const values: Readonly<Record<string, Tensor>> = { large, small: float32([1], [3]) };
    const store: TensorStore = {
      tensors: new Map(Object.entries(values).map(([name, t]) => [name, loose(t)])),
      read: (name) => Promise.resolve(values[name] as Tensor),
    };
    const y = mul(sum(param("large", large.shape), [1], {}), reshape(param("small", [1]), [1]));
    const made = await compile(
      { y: add(y, input("x", { shape: [1] })) },
      { engine: await engineOf(), store },
    );
    expect(await readdir(folder)).toEqual([]);
    expect([...((await made.run({ x: float32([1], [1]) })).y?.data ?? [])]).toEqual(
      new Array(rows).fill(1_500_001),
    );
    await made.dispose();
  });

  it("runs on memory of the caller, again and again, in order, while the event loop goes on", async () => {
    const shape = [256, 256];
    const x = input("x", { shape });
    let chain = x;
    for (let i = 0; i < 8; i++) chain = mul(matmul(chain, x), 1 / 256);
    const ids = input("ids", { shape: [2], dtype: "int64" });
    const outputs = { y: chain, z: add(ids, ids), same: x };
    const made = await compile(outputs, { engine: await engineOf(), store: none });
    const y = float32(shape, new Float32Array(256 * 256));
    const ones = float32(shape, new Float32Array(256 * 256).fill(1));
    const twos = float32(shape, new Float32Array(256 * 256).fill(2));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const both = [
      made.run({ x: ones, ids: int64([2], [3, -4]) }, { y }),
      made.run({ x: twos, ids: int64([2], [1, 1]) }),
    ];
    const [first, second] = await Promise.all(both);
    clearInterval(timer);
    expect(first?.y).toBe(y);
    expect(y.data[77]).toBe(1);
    expect(first?.z).toEqual(int64([2], [6, -8]));
    expect(first?.same?.data).toEqual(ones.data);
    expect(second?.y?.data[77]).toBe(512);
    expect(ticks).toBeGreaterThan(0);
    await made.dispose();
    await made.dispose();
    await expect(made.run({ x: ones, ids: int64([2], [0, 0]) })).rejects.toThrow(
      "openvino: expected a session that is open, got one that was disposed [E_ENGINE]",
    );
  });

  it("computes in f32 unless bf16 is asked for", async () => {
    const engine = await engineOf();
    const shape = [1, 64];
    const weights = float32(
      [64, 64],
      Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i)),
    );
    const store = await storeIn(join(folder, "w.bin"), { w: weights });
    const x = float32(
      shape,
      Float32Array.from({ length: 64 }, (_, i) => Math.cos(i)),
    );
    const exact = Array.from({ length: 64 }, (_, o) =>
      Array.from({ length: 64 }, (_, i) => Math.cos(i) * Math.sin(o * 64 + i)).reduce((a, c) => a + c, 0),
    );
    const errorIn = async (precision: "f32" | "bf16"): Promise<number> => {
      const y = linear(input("x", { shape }), param("w", [64, 64]), null);
      const made = await compile({ y }, { engine, store, precision });
      const got = (await made.run({ x })).y?.data ?? [];
      await made.dispose();
      return Math.max(...exact.map((v, i) => Math.abs(v - Number(got[i]))));
    };
    expect(await errorIn("f32")).toBeLessThan(1e-5);
    if (engine.precisions?.includes("bf16") === true) expect(await errorIn("bf16")).toBeGreaterThan(1e-3);
    else
      await expect(errorIn("bf16")).rejects.toThrow(
        "precision bf16: expected one that openvino computes in here: f32, got bf16 [E_ENGINE]",
      );
  });

  it("keeps compiled programs in the folder that is named, and nowhere else", async () => {
    const cache = join(folder, "programs");
    const engine = await engineOf();
    const again = async (o: { cache?: string }): Promise<Tensor | undefined> => {
      const made = await compile({ y: exp(input("x", { shape: [2] })) }, { engine, store: none, ...o });
      const { y } = await made.run({ x: float32([2], [0, 0]) });
      await made.dispose();
      return y;
    };
    await again({});
    expect(existsSync(cache)).toBe(false);
    await again({ cache });
    expect((await readdir(cache)).length).toBe(1);
    expect((await again({ cache }))?.data).toEqual(Float32Array.of(1, 1));
    const [kept = ""] = await readdir(cache);
    await rm(join(cache, kept));
    await writeFile(join(cache, kept), "no program"); // OpenVINO compiles again, and keeps that
    expect((await again({ cache }))?.data).toEqual(Float32Array.of(1, 1));
    expect((await readFile(join(cache, kept))).length).toBeGreaterThan(100);
  });

  it("says in OpenVINO's words what it does not load", async () => {
    const port = { dtype: "float32", shape: [1] } as const;
    const bytes = encodeModel({
      irVersion: 10,
      opsets: { "": 21 },
      nodes: [{ name: "odd", type: "NoSuchOp", domain: "", inputs: ["x"], outputs: ["y"], attrs: {} }],
      initializers: [],
      inputs: [{ name: "x", ...port }],
      outputs: [{ name: "y", ...port }],
    });
    const model = { bytes, weights: [], store: none, inputs: { x: port }, outputs: { y: port } };
    await expect((await engineOf()).load(model, {})).rejects.toThrow(
      /^openvino: expected a model that it can load, got [^\n]*NoSuchOp[^\n]* \[E_ENGINE\]$/,
    );
  });
});
