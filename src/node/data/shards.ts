/**
 * Records (a few named tensors and what is to be known of them, under one key) kept in safetensors files of bounded size.
 * A file appears whole or not at all, so a killed process loses only what it had not written yet; each record carries
 * its checksum, which is compared when it is read. Several processes may write into one folder: what both make is there twice.
 */

import { existsSync } from "node:fs";
import { link, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { parseObject } from "../../train/data/record.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openSafetensors, type SafetensorsFile } from "../../weights/safetensors.ts";
import { planSafetensors, streamSafetensors } from "../../weights/safetensors-writer.ts";
import { isRunning, makeFolder, openFolder, outputError, writeAtomically } from "../files.ts";
import { contentHash } from "./hash.ts";

/** Written into each file; another number means another layout. */
const format = "koala-records 1";

export interface ShardOptions {
  /** What the records depend on, kept in each file for whoever looks. */
  readonly config: string;
  /** A file is written when this many bytes, or this many records, wait. */
  readonly maxBytes: number;
  readonly maxRecords: number;
  /** Records once read stay in memory up to this many bytes. */
  readonly memoryBytes: number;
}

type Tensors = Readonly<Record<string, Tensor>>;

interface Entry {
  readonly sum: string;
  /** Of its tensors, within the record. */
  readonly names: readonly string[];
  readonly info: unknown;
}

interface Waiting extends Entry {
  readonly tensors: Tensors;
}

interface Stored extends Entry {
  readonly file: SafetensorsFile;
  readonly where: string;
}

const bytesOf = (tensors: Tensors): number =>
  Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0);

/** Over the tensors in the order of their names: types, shapes, bytes. */
function checksum(tensors: Tensors): string {
  const parts = Object.keys(tensors)
    .sort()
    .map((name) => {
      const { dtype, shape, data } = tensors[name] as Tensor;
      const bytes = contentHash(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return [name, dtype, shape, bytes];
    });
  return contentHash(JSON.stringify(parts));
}

const shardName = (number: number): string => `${String(number).padStart(5, "0")}.safetensors`;

let unplacedCount = 0;

/** File systems without hard links say one of these. */
const noLinks: ReadonlySet<string | undefined> = new Set([
  "EPERM",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EMLINK",
]);

/** Gives a file its name, unless there is one of that name: then it stays where it is. */
async function place(from: string, to: string): Promise<"placed" | "taken"> {
  try {
    await link(from, to);
    await rm(from, { force: true });
    return "placed";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return "taken";
    if (!noLinks.has(code)) throw error;
    if (existsSync(to)) return "taken";
    await rename(from, to); // which another process may have named since: the best that such a file system has
    return "placed";
  }
}

/** Whether a temporary file, which has its writer's process in its name, is of one that is no more. */
async function isLeftOver(path: string): Promise<boolean> {
  const pid = Number(/\.(\d+)-\d+\.tmp$/.exec(path)?.[1] ?? Number.NaN);
  if (Number.isNaN(pid)) return true;
  // an earlier process may have had the number of this one, as the first of a container has
  if (pid === process.pid)
    return ((await stat(path).catch(() => null))?.mtimeMs ?? 0) < Date.now() - 1000 * process.uptime();
  return !isRunning(pid);
}

export class RecordShards {
  private readonly folder: string;
  private readonly options: ShardOptions;
  private readonly files: ModelFiles;
  private readonly stored = new Map<string, Stored>();
  private readonly waiting = new Map<string, Waiting>();
  private waitingBytes = 0;
  private readonly memory = new Map<string, Tensors>();
  private memoryBytes = 0;
  private next = 0;

  private constructor(folder: string, files: ModelFiles, o: ShardOptions) {
    this.folder = folder;
    this.files = files;
    this.options = o;
  }

  /**
   * The records in `folder`. With `repair` the folder is made if it is not there, leftovers of killed processes are
   * removed, and so is a file that is damaged, of which `repair` hears: its records are to be made again.
   * @throws KoalaError E_SAFETENSORS for a damaged file, E_FILE, E_OUTPUT
   */
  static async open(
    folder: string,
    o: ShardOptions,
    repair?: (message: string) => void,
  ): Promise<RecordShards> {
    if (repair !== undefined) await makeFolder(folder, { mayHaveFiles: true });
    const shards = new RecordShards(folder, await openFolder(folder), o);
    for (const name of (await readdir(folder)).sort()) {
      if (repair !== undefined && /^\..*\.tmp$/.test(name) && (await isLeftOver(join(folder, name))))
        await rm(join(folder, name), { force: true });
      if (!/^\d+\.safetensors$/.test(name)) continue;
      shards.next = Math.max(shards.next, Number.parseInt(name, 10) + 1);
      try {
        await shards.adopt(name);
      } catch (error) {
        if (repair === undefined || !(error instanceof KoalaError)) throw error;
        await rm(join(folder, name), { force: true });
        repair(`a damaged file of the cache was removed, its records are made again (${error.message})`);
      }
    }
    return shards;
  }

  has(key: string): boolean {
    return this.stored.has(key) || this.waiting.has(key);
  }

  /** What was put with the record; undefined where there is none. */
  info(key: string): unknown {
    return (this.waiting.get(key) ?? this.stored.get(key))?.info;
  }

  /** Keeps a record, and writes a file when enough of them wait. @throws KoalaError E_DISK, E_OUTPUT */
  async put(key: string, tensors: Tensors, info: unknown): Promise<void> {
    this.waiting.set(key, { tensors, info, names: Object.keys(tensors), sum: checksum(tensors) });
    this.waitingBytes += bytesOf(tensors);
    const { maxBytes, maxRecords } = this.options;
    if (this.waitingBytes >= maxBytes || this.waiting.size >= maxRecords) await this.flush();
  }

  /** Writes what waits. @throws KoalaError E_DISK, E_OUTPUT; what was written before stays whole */
  async flush(): Promise<void> {
    if (this.waiting.size === 0) return;
    const tensors = new Map<string, Tensor>();
    const entries: Record<string, Entry> = {};
    for (const [key, { tensors: own, ...entry }] of this.waiting) {
      entries[key] = entry;
      for (const [name, t] of Object.entries(own)) tensors.set(`${key}.${name}`, t);
    }
    const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    const metadata = { format, config: this.options.config, records: JSON.stringify(entries) };
    const plan = planSafetensors(specs, metadata);
    const pieces = streamSafetensors(plan, (spec) => tensors.get(spec.name) as Tensor);
    await this.adopt(await this.write(pieces));
    this.waiting.clear();
    this.waitingBytes = 0;
  }

  /** Writes a file under the next number that nobody has; gives its name. */
  private async write(pieces: AsyncIterable<Uint8Array>): Promise<string> {
    const unplaced = join(this.folder, `.records.${process.pid}-${unplacedCount++}.tmp`);
    await writeAtomically(unplaced, pieces);
    try {
      for (;;) {
        const name = shardName(this.next++);
        if ((await place(unplaced, join(this.folder, name))) === "placed") return name;
      }
    } catch (error) {
      await rm(unplaced, { force: true }).catch(() => {});
      throw outputError(join(this.folder, shardName(this.next - 1)), error);
    }
  }

  /**
   * The tensors of a record.
   * @throws KoalaError E_FILE when there is none, E_CHECKSUM when it is not what was written
   */
  async read(key: string): Promise<Tensors> {
    const near = this.waiting.get(key)?.tensors ?? this.memory.get(key);
    if (near !== undefined) return near;
    const stored = this.stored.get(key);
    check(stored !== undefined, "E_FILE", () => ({
      where: this.folder,
      expected: `a record ${key}`,
      got: "none of that name",
      hint: "Prepare the data set again: what is there is kept.",
    }));
    const { file, names, sum, where } = stored;
    const tensors: Record<string, Tensor> = {};
    for (const name of names) tensors[name] = await file.read(`${key}.${name}`);
    const found = checksum(tensors);
    check(found === sum, "E_CHECKSUM", () => ({
      where: `${where}: ${key}`,
      expected: `the checksum ${sum}`,
      got: found,
      hint: "The file was damaged on the disk: delete it and prepare the data set again, which makes only what it held.",
    }));
    const bytes = bytesOf(tensors);
    if (this.memoryBytes + bytes <= this.options.memoryBytes) {
      this.memory.set(key, tensors);
      this.memoryBytes += bytes;
    }
    return tensors;
  }

  /** Takes the records of a file in. */
  private async adopt(name: string): Promise<void> {
    const where = join(this.folder, name);
    const file = await openSafetensors(this.files, name);
    const records = parseObject(file.metadata.get("records") ?? "");
    if (file.metadata.get("format") !== format || records === null)
      throw new KoalaError("E_SAFETENSORS", {
        where,
        expected: `records of the format "${format}"`,
        got: `"${file.metadata.get("format") ?? "none"}"`,
      });
    for (const [key, entry] of Object.entries(records))
      this.stored.set(key, { ...(entry as Entry), file, where });
  }
}
