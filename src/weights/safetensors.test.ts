import { expect, test } from "vitest";
import { float32, type Tensor, tensor, toFloat32 } from "../tensor/tensor.ts";
import { memoryFiles } from "./memory-files.ts";
import { maxHeaderBytes, openSafetensors } from "./safetensors.ts";
import { planSafetensors, serializeSafetensors, streamSafetensors } from "./safetensors-writer.ts";

/**
 * Written by safetensors 0.8.0 for PyTorch, `save({...}, metadata={"format": "pt"})`, with one tensor of every dtype:
 * b [1.5, -2, 3.25], a [[1, 2], [3, 4]], c.bf [1, -1], z [1, 2], u [7, 8, 9], i8 [-1], bool [1, 0, 1], i32 [5],
 * f64 0.5, i16 [-3], u16 [65535], empty of shape [0, 3].
 */
const reference =
  "0AIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCJ9LCJ6Ijp7ImR0eXBlIjoiSTY0Iiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRzIjpbMCwxNl19LCJmNjQiOnsiZHR5cGUiOiJGNjQiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6WzE2LDI0XX0sImIiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOlsyNCwzNl19LCJlbXB0eSI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMCwzXSwiZGF0YV9vZmZzZXRzIjpbMzYsMzZdfSwiaTMyIjp7ImR0eXBlIjoiSTMyIiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbMzYsNDBdfSwiYy5iZiI6eyJkdHlwZSI6IkJGMTYiLCJzaGFwZSI6WzJdLCJkYXRhX29mZnNldHMiOls0MCw0NF19LCJhIjp7ImR0eXBlIjoiRjE2Iiwic2hhcGUiOlsyLDJdLCJkYXRhX29mZnNldHMiOls0NCw1Ml19LCJ1MTYiOnsiZHR5cGUiOiJVMTYiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOls1Miw1NF19LCJpMTYiOnsiZHR5cGUiOiJJMTYiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOls1NCw1Nl19LCJpOCI6eyJkdHlwZSI6Ikk4Iiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRzIjpbNTYsNTddfSwidSI6eyJkdHlwZSI6IlU4Iiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbNTcsNjBdfSwiYm9vbCI6eyJkdHlwZSI6IkJPT0wiLCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOls2MCw2M119fSAgICAgICABAAAAAAAAAAIAAAAAAAAAAAAAAAAA4D8AAMA/AAAAwAAAUEAFAAAAgD+AvwA8AEAAQgBE///9//8HCAkBAAE=";
const referenceBytes = new Uint8Array(Buffer.from(reference, "base64"));

const every: Record<string, Tensor> = {
  b: float32([3], [1.5, -2, 3.25]),
  a: tensor("float16", [2, 2], Uint16Array.of(0x3c00, 0x4000, 0x4200, 0x4400)),
  "c.bf": tensor("bfloat16", [2], Uint16Array.of(0x3f80, 0xbf80)),
  z: tensor("int64", [2], BigInt64Array.of(1n, 2n)),
  u: tensor("uint8", [3], Uint8Array.of(7, 8, 9)),
  i8: tensor("int8", [1], Int8Array.of(-1)),
  bool: tensor("bool", [3], Uint8Array.of(1, 0, 1)),
  i32: tensor("int32", [1], Int32Array.of(5)),
  f64: tensor("float64", [], Float64Array.of(0.5)),
  i16: tensor("int16", [1], Int16Array.of(-3)),
  u16: tensor("uint16", [1], Uint16Array.of(65535)),
  empty: float32([0, 3], []),
};

/** A file with that header, `length` of it claimed, and `data` zeros. */
function file(header: string, data: number, length?: bigint): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const open = (bytes: Uint8Array<ArrayBuffer>) =>
  openSafetensors(memoryFiles("m", { "x.safetensors": bytes }), "x.safetensors");

const message = async (bytes: Uint8Array<ArrayBuffer>): Promise<string> =>
  open(bytes).then(
    () => "no error",
    (error) => error.message,
  );

test("the reference implementation's file gives every tensor and the metadata", async () => {
  const store = await open(referenceBytes);
  expect([...store.tensors.keys()].sort()).toEqual(Object.keys(every).sort());
  expect(store.metadata).toEqual(new Map([["format", "pt"]]));
  for (const [name, value] of Object.entries(every)) expect(await store.read(name)).toEqual(value);
  expect(store.tensors.get("a")).toEqual({
    dtype: "float16",
    shape: [2, 2],
    file: null,
    offset: 8 + 720 + 44,
    byteLength: 8,
  });
});

test("the writer gives the reference implementation's bytes", () => {
  expect(serializeSafetensors(every, { format: "pt" })).toEqual(referenceBytes);
});

test("the streaming writer gives the same bytes, one tensor at a time, in the plan's order", async () => {
  const specs = Object.entries(every).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const plan = planSafetensors(specs, { format: "pt" });
  const order: string[] = [];
  const pieces: Uint8Array[] = [];
  for await (const piece of streamSafetensors(plan, ({ name }) => {
    order.push(name);
    return every[name] as Tensor;
  })) {
    pieces.push(piece);
  }
  expect(new Uint8Array(Buffer.concat(pieces))).toEqual(referenceBytes);
  expect(plan.byteLength).toBe(referenceBytes.length);
  expect(order).toEqual(["z", "f64", "b", "empty", "i32", "c.bf", "a", "u16", "i16", "i8", "u", "bool"]);
});

test("tensors at odd offsets are read", async () => {
  const bytes = file(
    '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}',
    5,
  );
  new DataView(bytes.buffer).setFloat32(bytes.length - 4, 2.5, true);
  // a store may hand out views into a larger buffer, too
  const files = memoryFiles("m", { "x.safetensors": bytes });
  const store = await openSafetensors(
    { ...files, read: async (_, start, end) => bytes.subarray(start, end) },
    "x.safetensors",
  );
  expect(toFloat32(await store.read("b"))).toEqual(Float32Array.of(2.5));
});

test("a tensor that is not there is an error", async () => {
  const store = await open(referenceBytes);
  await expect(store.read("q")).rejects.toThrow(
    'm/x.safetensors: expected a tensor "q", got none of that name [E_WEIGHTS]',
  );
});

test("the writer refuses a name twice, and data that is not what was planned", async () => {
  const spec = { name: "a", dtype: "float32", shape: [1] } as const;
  expect(() => planSafetensors([spec, spec])).toThrow(
    'safetensors: expected every tensor under a name of its own, got "a" again [E_WEIGHTS]',
  );
  const stream = streamSafetensors(planSafetensors([spec]), () => float32([2], [1, 2]));
  await stream.next();
  await expect(stream.next()).rejects.toThrow(
    "a: expected float32 [1], as planned, got float32 [2] [E_WEIGHTS]",
  );
});

const entry = (fields: string): Uint8Array<ArrayBuffer> => file(`{"a":{${fields}}}`, 8);
const good = '"dtype":"F32","shape":[2],"data_offsets":[0,8]';

test.each<[string, Uint8Array<ArrayBuffer>, string]>([
  [
    "a file of a few bytes",
    Uint8Array.of(1, 2, 3),
    "m/x.safetensors: expected a safetensors file, which begins with 8 bytes of header length, got a file of 3 bytes [E_SAFETENSORS]",
  ],
  [
    "a header longer than the limit",
    file("{}", 0, BigInt(maxHeaderBytes) + 1n),
    "m/x.safetensors: expected a header of at most 100000000 bytes, got a header length of 100000001 [E_SAFETENSORS]",
  ],
  [
    "a header longer than the file",
    file("{}", 0, 1000n),
    "m/x.safetensors: expected a header of 1000 bytes, got a file of 10 bytes [E_SAFETENSORS]\nThe file is truncated: fetch it again.",
  ],
  [
    "a pickle",
    new TextEncoder().encode("PK\x03\x04\x00\x00\x08\x08\x00\x00"),
    "m/x.safetensors: expected a header of at most 100000000 bytes, got a header length of 578712552184433488 [E_SAFETENSORS]\n" +
      "It looks like a pickle checkpoint (.ckpt, .bin, .pt), which can run code when it is opened and is not read here: convert it to safetensors first.",
  ],
  [
    "a Git LFS pointer",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
    "m/x.safetensors: expected a header of at most 100000000 bytes, got a header length of 2336927755350992246 [E_SAFETENSORS]\n" +
      "It looks like a Git LFS pointer, a few lines that stand for the file: run `git lfs pull` to fetch the file itself.",
  ],
  [
    "a web page",
    new TextEncoder().encode("<!doctype html>"),
    "m/x.safetensors: expected a header of at most 100000000 bytes, got a header length of 8104636974849335612 [E_SAFETENSORS]\n" +
      "It looks like a web page saved in the file's place: fetch the file again.",
  ],
  [
    "a GGUF file",
    new TextEncoder().encode("GGUF\x03\x00\x00\x00\x01"),
    "m/x.safetensors: expected a header of at most 100000000 bytes, got a header length of 14064895815 [E_SAFETENSORS]\n" +
      "It looks like a GGUF file, which is not read here: use the safetensors original.",
  ],
  [
    "a header of other bytes",
    (() => {
      const bytes = file("{}", 0);
      bytes[8] = 0xff;
      return bytes;
    })(),
    "m/x.safetensors: expected a header in UTF-8, got other bytes [E_SAFETENSORS]",
  ],
  [
    "a header that is not JSON",
    file('{"a":', 0),
    "m/x.safetensors: expected a header of JSON, got text that is not JSON [E_SAFETENSORS]",
  ],
  [
    "a header that is a list",
    file("[1]", 0),
    "m/x.safetensors: expected a JSON object as header, got [1] [E_SAFETENSORS]",
  ],
  [
    "a name twice",
    file(`{"a":{${good}} , "\\u0061" :{${good}}}`, 8),
    'm/x.safetensors: expected every name once, got "a" twice [E_SAFETENSORS]',
  ],
  [
    "metadata that is not text",
    file('{"__metadata__":{"n":1}}', 0),
    'm/x.safetensors: expected __metadata__ of strings, got {"n":1} [E_SAFETENSORS]',
  ],
  [
    "an entry that is no object",
    file('{"a":3}', 0),
    "m/x.safetensors: a: expected an object with dtype, shape and data_offsets, got 3 [E_SAFETENSORS]",
  ],
  [
    "an unknown dtype",
    entry('"dtype":"X9","shape":[2],"data_offsets":[0,8]'),
    'm/x.safetensors: a: expected a dtype of F32, F16, BF16, F64, I64, I32, U16, I16, U8, I8, BOOL, got "X9" [E_SAFETENSORS]',
  ],
  [
    "a dtype that is not supported",
    entry('"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]'),
    "m/x.safetensors: a: expected a dtype of F32, F16, BF16, F64, I64, I32, U16, I16, U8, I8, BOOL, got F8_E4M3, which koala does not read [E_SAFETENSORS]",
  ],
  [
    "no dtype",
    entry('"shape":[2],"data_offsets":[0,8]'),
    "m/x.safetensors: a: expected a dtype of F32, F16, BF16, F64, I64, I32, U16, I16, U8, I8, BOOL, got none [E_SAFETENSORS]",
  ],
  [
    "a negative dimension",
    entry('"dtype":"F32","shape":[-2],"data_offsets":[0,8]'),
    "m/x.safetensors: a: expected a shape of whole numbers, got [-2] [E_SAFETENSORS]",
  ],
  [
    "offsets that are no numbers",
    entry('"dtype":"F32","shape":[2],"data_offsets":[0,"8"]'),
    'm/x.safetensors: a: expected data_offsets of two whole numbers, got [0,"8"] [E_SAFETENSORS]',
  ],
  [
    "a shape that does not fill its range",
    entry('"dtype":"F32","shape":[3],"data_offsets":[0,8]'),
    "m/x.safetensors: a: expected 12 bytes for F32 [3], got 8 [E_SAFETENSORS]",
  ],
  [
    "a shape whose product overflows",
    entry('"dtype":"F32","shape":[9007199254740991,9007199254740991],"data_offsets":[0,8]'),
    "m/x.safetensors: a: expected 3.2451855365842665e+32 bytes for F32 [9007199254740991, 9007199254740991], got 8 [E_SAFETENSORS]",
  ],
  [
    "data past the end",
    file(`{"a":{${good}}}`, 4),
    "m/x.safetensors: a: expected its data within the 4 bytes after the header, got an end at byte 8 [E_SAFETENSORS]\nThe file is truncated or its header is wrong: fetch it again.",
  ],
  [
    "an overlap",
    file(`{"a":{${good}},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
    "m/x.safetensors: b: expected data after that of a, from byte 8, got an overlap from byte 4 [E_SAFETENSORS]",
  ],
  [
    "a gap",
    file(`{"a":{${good}},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20),
    "m/x.safetensors: b: expected data from byte 8, where a ends, got a gap up to byte 12 [E_SAFETENSORS]",
  ],
  [
    "bytes after the last tensor",
    file(`{"a":{${good}}}`, 9),
    "m/x.safetensors: expected 8 bytes of data, as the header says, got 9 [E_SAFETENSORS]",
  ],
])("%s is named", async (_, bytes, expected) => {
  expect(await message(bytes)).toBe(expected);
});

test("a name that objects inherit is a name like any other", async () => {
  const store = await open(file(`{"__proto__":{${good}}}`, 8));
  expect([...store.tensors.keys()]).toEqual(["__proto__"]);
});

test("a lying length allocates nothing", async () => {
  const before = process.memoryUsage().arrayBuffers;
  await message(file('{"a":{"dtype":"F32","shape":[250000000],"data_offsets":[0,1000000000]}}', 8));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
});
