/** A data set from paths: what kind each is, and all of them as one. */

import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import type { DataSource } from "../../train/data/sample.ts";
import { openFolder, similarSiblings } from "../files.ts";
import { openPictureFolder } from "./folder.ts";
import { openParquet, type ParquetOptions } from "./parquet.ts";
import { openTar } from "./tar.ts";

/** One path's sources, and what makes the names of its samples unlike those of other paths. */
interface Opened {
  readonly prefix: string;
  readonly sources: readonly DataSource[];
}

/**
 * The data set of `paths`: parquet files, tar files, or folders. A folder that holds parquet files is read through them
 * (pictures beside them may be what they name), else one with tar files through those, else as pictures.
 * @throws KoalaError E_FILE when a path is missing, unreadable, damaged or of no known kind, E_CONFIG
 */
export async function openSource(paths: readonly string[], o: ParquetOptions = {}): Promise<DataSource> {
  const opened: Opened[] = [];
  for (const path of paths) opened.push(await openOne(path, o));
  const parts = opened.flatMap(({ prefix, sources }) =>
    sources.map((source) => ({ source, prefix: paths.length === 1 ? "" : prefix })),
  );
  const [first] = parts;
  check(first !== undefined, "E_FILE", () => ({
    where: "data",
    expected: "a folder, parquet or tar file of pictures",
    got: "none",
  }));
  return parts.length === 1 ? first.source : joined(paths.join(", "), parts);
}

async function openOne(path: string, o: ParquetOptions): Promise<Opened> {
  const facts = await stat(path).catch(async (cause: unknown) => {
    const near = (await similarSiblings(path))[0];
    throw new KoalaError("E_FILE", {
      where: path,
      expected: "a folder, parquet or tar file of pictures",
      got: "no such file or folder",
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
      cause,
    });
  });
  if (!facts.isDirectory()) return { prefix: dirname(path), sources: [await openShard(path, o)] };
  await openFolder(path);
  const names = (await readdir(path)).sort();
  for (const extension of [".parquet", ".tar"]) {
    const shards = names.filter((name) => name.endsWith(extension));
    if (shards.length === 0) continue;
    return { prefix: path, sources: await Promise.all(shards.map((name) => openShard(join(path, name), o))) };
  }
  return { prefix: path, sources: [await openPictureFolder(path, o)] };
}

function openShard(path: string, o: ParquetOptions): Promise<DataSource> {
  if (path.endsWith(".parquet")) return openParquet(path, o);
  check(path.endsWith(".tar"), "E_FILE", () => ({
    where: path,
    expected: "a folder, or a file that ends in .parquet or .tar",
    got: "another file",
  }));
  return openTar(path, o);
}

/** One after another. */
function joined(
  name: string,
  parts: readonly { readonly source: DataSource; readonly prefix: string }[],
): DataSource {
  const counts = parts.map(({ source }) => source.count);
  return {
    name,
    key: JSON.stringify(parts.map(({ source }) => source.key)),
    count: counts.some((count) => count === null) ? null : counts.reduce<number>((a, b) => a + (b ?? 0), 0),
    async *samples(skip) {
      for (const { source, prefix } of parts) {
        const samples = source.samples((skipped) => skip({ ...skipped, id: join(prefix, skipped.id) }));
        for await (const sample of samples) yield { ...sample, id: join(prefix, sample.id) };
      }
    },
  };
}
