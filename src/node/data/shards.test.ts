/** Records on the disk: written, found again after a kill, checked when read. */

import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { float32, tensor } from "../../tensor/tensor.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { serializeSafetensors } from "../../weights/safetensors-writer.ts";
import { contentHash, fingerprint } from "./hash.ts";
import { RecordShards, type ShardOptions } from "./shards.ts";

const root = mkdtempSync(join(tmpdir(), "koala-shards-"));
afterAll(() => rmSync(root, { recursive: true }));

const options: ShardOptions = { config: "{}", maxBytes: 1000, maxRecords: 3, memoryBytes: 1000 };
const record = (v: number) => ({ a: float32([2], [v, -v]), b: tensor("uint8", [1], Uint8Array.of(v)) });
const silent = (): void => {};
/** No process has it: Linux counts to 2²² at most. */
const nobody = 2 ** 22 + 1;

let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, `${count++}`);
});

const message = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => "no error",
    (error: Error) => error.message,
  );

describe("records", () => {
  it("are read as they were put, before and after they are written, and by another process", async () => {
    const shards = await RecordShards.open(folder, options, silent);
    for (const v of [1, 2, 3, 4]) await shards.put(`key.${v}`, record(v), { v });
    expect(readdirSync(folder)).toEqual(["00000.safetensors"]);
    for (const v of [1, 4]) {
      expect(await shards.read(`key.${v}`)).toEqual(record(v));
      expect([shards.has(`key.${v}`), shards.info(`key.${v}`)]).toEqual([true, { v }]);
    }
    await shards.flush();
    const other = await RecordShards.open(folder, options);
    for (const v of [1, 2, 3, 4]) {
      expect(await other.read(`key.${v}`)).toEqual(record(v));
      expect(await other.read(`key.${v}`)).toEqual(record(v)); // now from memory, or not where it is full
      expect(other.info(`key.${v}`)).toEqual({ v });
    }
    expect([other.has("key.5"), other.info("key.5")]).toEqual([false, undefined]);
  });

  it("go into files of bounded size", async () => {
    const shards = await RecordShards.open(folder, { ...options, maxBytes: 20 }, silent);
    for (const v of [1, 2, 3, 4, 5]) await shards.put(`${v}`, record(v), null); // nine bytes each
    await shards.flush();
    expect(readdirSync(folder)).toEqual(["00000.safetensors", "00001.safetensors"]);
  });

  it("that were not written are all that a kill costs; its leftovers go", async () => {
    const killed = await RecordShards.open(folder, options, silent);
    for (const v of [1, 2, 3, 4, 5]) await killed.put(`${v}`, record(v), null);
    writeFileSync(join(folder, `.00001.safetensors.${nobody}-0.tmp`), "half a file");
    const resumed = await RecordShards.open(folder, options, silent);
    expect([1, 2, 3, 4, 5].map((v) => resumed.has(`${v}`))).toEqual([true, true, true, false, false]);
    expect(readdirSync(folder)).toEqual(["00000.safetensors"]);
    await resumed.put("4", record(4), null);
    await resumed.flush();
    expect(readdirSync(folder)).toEqual(["00000.safetensors", "00001.safetensors"]);
    expect(await (await RecordShards.open(folder, options)).read("4")).toEqual(record(4));
  });

  it("of two that write into one folder are all there", async () => {
    const [one, two] = [
      await RecordShards.open(folder, options, silent),
      await RecordShards.open(folder, options, silent),
    ];
    for (const v of [1, 2, 3]) {
      await one.put(`one.${v}`, record(v), null);
      await two.put(`two.${v}`, record(10 * v), null);
    }
    await one.put("one.4", record(4), null);
    await one.flush();
    expect(readdirSync(folder)).toEqual(["00000.safetensors", "00001.safetensors", "00002.safetensors"]);
    const all = await RecordShards.open(folder, options);
    for (const shards of [one, all]) expect(await shards.read("one.3")).toEqual(record(3));
    for (const shards of [two, all]) expect(await shards.read("two.3")).toEqual(record(30));
  });

  it("that another process is writing are left to it", async () => {
    await RecordShards.open(folder, options, silent);
    const names = [process.ppid, process.pid, nobody].map((pid) => `.records.${pid}-0.tmp`);
    for (const name of names) writeFileSync(join(folder, name), "half a file");
    await RecordShards.open(folder, options); // which only reads
    expect(readdirSync(folder).sort()).toEqual([...names].sort());
    await RecordShards.open(folder, options, silent);
    expect(readdirSync(folder).sort()).toEqual(names.slice(0, 2).sort());
    const old = Date.now() / 1000 - process.uptime() - 60; // of an earlier process with the number of this one
    utimesSync(join(folder, names[1] as string), old, old);
    await RecordShards.open(folder, options, silent);
    expect(readdirSync(folder)).toEqual(names.slice(0, 1));
  });

  it("in a file that is cut short are an error to a reader, and made again by a writer", async () => {
    const shards = await RecordShards.open(folder, options, silent);
    for (const v of [1, 2, 3, 4]) await shards.put(`${v}`, record(v), null);
    await shards.flush();
    const path = join(folder, "00000.safetensors");
    truncateSync(path, readFileSync(path).length - 4);
    const first = await message(RecordShards.open(folder, options));
    expect(first).toMatch(/00000\.safetensors.*\[E_SAFETENSORS\]/);
    const heard: string[] = [];
    const repaired = await RecordShards.open(folder, options, (text) => heard.push(text));
    expect(heard).toEqual([`a damaged file of the cache was removed, its records are made again (${first})`]);
    expect(["1", "4"].map((key) => repaired.has(key))).toEqual([false, true]);
  });

  it("of another layout are refused", async () => {
    await RecordShards.open(folder, options, silent);
    const path = join(folder, "00000.safetensors");
    writeFileSync(path, serializeSafetensors({ a: float32([1], [1]) }, { format: "pt" }));
    expect(await message(RecordShards.open(folder, options))).toBe(
      `${path}: expected records of the format "koala-records 1", got "pt" [E_SAFETENSORS]`,
    );
    writeFileSync(path, serializeSafetensors({ a: float32([1], [1]) }));
    expect(await message(RecordShards.open(folder, options))).toBe(
      `${path}: expected records of the format "koala-records 1", got "none" [E_SAFETENSORS]`,
    );
  });

  it("whose bytes changed on the disk are an error that names file and record", async () => {
    const shards = await RecordShards.open(folder, options, silent);
    for (const v of [1, 2, 3]) await shards.put(`${v}`, record(v), null);
    const path = join(folder, "00000.safetensors");
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = 99; // the last record's b
    writeFileSync(path, bytes);
    const reader = await RecordShards.open(folder, options);
    expect(await reader.read("1")).toEqual(record(1));
    expect(await message(reader.read("3"))).toMatch(
      new RegExp(
        `^${path}: 3: expected the checksum [0-9a-f]{32}, got [0-9a-f]{32} \\[E_CHECKSUM\\]\\nThe file was damaged on the disk: delete it and prepare the data set again, which makes only what it held\\.$`,
      ),
    );
  });

  it("that are not there are an error", async () => {
    const shards = await RecordShards.open(folder, options, silent);
    expect(await message(shards.read("x"))).toBe(
      `${folder}: expected a record x, got none of that name [E_FILE]\nPrepare the data set again: what is there is kept.`,
    );
  });
});

describe("a fingerprint of weights", () => {
  const store = (values: readonly number[]) =>
    openSafetensors(
      memoryFiles("m", {
        "a.safetensors": serializeSafetensors({ a: float32([2], values), b: float32([1], [0]) }),
      }),
      "a.safetensors",
    );

  it("changes with one value of the named tensors, and not with others or their order", async () => {
    const own = await fingerprint(await store([1, 2]), ["a", "b"]);
    expect(own).toMatch(/^[0-9a-f]{32}$/);
    expect(await fingerprint(await store([1, 2]), ["b", "a"])).toBe(own);
    expect(await fingerprint(await store([1, 3]), ["a", "b"])).not.toBe(own);
    expect(await fingerprint(await store([1, 3]), ["b"])).toBe(await fingerprint(await store([1, 2]), ["b"]));
  });

  it("of a text is SHA-256", () => {
    // printf koala | sha256sum
    expect(contentHash("koala")).toBe("c88cf9468f1701ff059abe2c172a0da5");
  });
});
