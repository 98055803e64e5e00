/**
 * ONNX Runtime's programs on disk, optimized and with their weights packed: a second start maps them instead of making them
 * again. A program lies in a folder of its own, named by all that it was made of; a record, written last, says that it is whole.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";

/** The least recently used are removed beyond this: KOALA-700M from float16 takes 11 GB in all. */
const MOST_BYTES = 32e9;

/** Smaller initializers stay in the model. */
const LEAST_EXTERNAL_BYTES = 1024;

const [MODEL, WEIGHTS, RECORD] = ["model.onnx", "weights.bin", "record.json"] as const;

export interface KeptProgram {
  readonly bytes: Uint8Array;
  readonly root: string;
}

interface Record {
  /** SHA-256 of the model, bytes of the weights. */
  readonly model: string;
  readonly weights: number;
}

const sha256 = (...parts: readonly (Uint8Array | string)[]): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

/**
 * What a program is known by: the model, the files that its weights lie in as they are now, the engine's version and options,
 * and the processor, whose instructions decide how weights are packed.
 */
export async function programKey(
  bytes: Uint8Array,
  files: readonly string[],
  engine: Readonly<{ [name: string]: unknown }>,
): Promise<string> {
  const facts = await Promise.all(
    files.map(async (path) => {
      const { size, mtimeMs } = await stat(path);
      return [path, size, mtimeMs];
    }),
  );
  return sha256(bytes, JSON.stringify([facts, engine, processor()])).slice(0, 32);
}

/** Its kind and instructions: a virtual machine may give both of two kinds one name. */
function processor(): readonly (string | undefined)[] {
  let said = "";
  try {
    said = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    // no Linux
  }
  return [process.arch, cpus()[0]?.model, /^(?:flags|Features)\s*:.*$/m.exec(said)?.[0]];
}

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => null))?.size ?? 0;

/** The program, null where there is none; `damaged` is called for one that is not as it was written, which is removed. */
export async function readKept(cache: string, key: string, damaged: () => void): Promise<KeptProgram | null> {
  const root = join(cache, key);
  if ((await stat(root).catch(() => null)) === null) return null;
  try {
    const bytes = await readFile(join(root, MODEL));
    const record = JSON.parse(await readFile(join(root, RECORD), "utf8")) as Record;
    if (record.model === sha256(bytes) && record.weights === (await sizeOf(join(root, WEIGHTS)))) {
      await utimes(root, new Date(), new Date());
      return { bytes, root };
    }
  } catch {
    // a file that is missing or no JSON: damaged too
  }
  damaged();
  await removeKept(cache, key);
  return null;
}

export const removeKept = (cache: string, key: string): Promise<void> =>
  rm(join(cache, key), { recursive: true, force: true });

export interface Keeping {
  /** Options of a session that writes its program when it is made. */
  readonly session: Readonly<{ [name: string]: unknown }>;
  /** The same, of the group `session`. */
  readonly entries: Readonly<{ [name: string]: string }>;
  /** Gives what was written its place, unless another process has by now. */
  finish(): Promise<void>;
  /** Removes what was written, where it has no place. */
  abandon(): Promise<void>;
}

/** A place for a program that is about to be made. @throws what the file system throws */
export async function keep(cache: string, key: string): Promise<Keeping> {
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, ".new-"));
  const abandon = (): Promise<void> => rm(folder, { recursive: true, force: true });
  return {
    session: { optimizedModelFilePath: join(folder, MODEL) },
    entries: {
      optimized_model_external_initializers_file_name: WEIGHTS,
      optimized_model_external_initializers_min_size_in_bytes: String(LEAST_EXTERNAL_BYTES),
      save_external_prepacked_constant_initializers: "1",
    },
    abandon,
    async finish() {
      const record: Record = {
        model: sha256(await readFile(join(folder, MODEL))),
        weights: await sizeOf(join(folder, WEIGHTS)),
      };
      await writeFile(join(folder, RECORD), JSON.stringify(record));
      await rename(folder, join(cache, key)).catch(async (error: unknown) => {
        if ((await stat(join(cache, key)).catch(() => null)) === null) throw error;
      });
      await tidy(cache, key);
    },
  };
}

/** Removes what was not used for longest, until the rest is within bounds; `key` stays. */
async function tidy(cache: string, key: string): Promise<void> {
  const entries = await Promise.all(
    (await readdir(cache)).map(async (name) => {
      const root = join(cache, name);
      const usedMs = (await stat(root).catch(() => null))?.mtimeMs ?? 0;
      return { name, usedMs, bytes: (await sizeOf(join(root, WEIGHTS))) + (await sizeOf(join(root, MODEL))) };
    }),
  );
  let total = 0;
  for (const { name, bytes } of entries.sort((a, b) => b.usedMs - a.usedMs)) {
    total += bytes;
    if (bytes > 0 && total > MOST_BYTES && name !== key) await removeKept(cache, name);
  }
}
