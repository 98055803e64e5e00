/**
 * A folder of pictures, and the folders in it. Captions come from `metadata.jsonl` (Hugging Face's image folders:
 * `file_name` and any fields) or from a text beside the picture (`a.png`, `a.txt`), which counts as the field `text`.
 */

import { readdir, readFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import {
  type DataRecord,
  describe,
  noCaption,
  parseMetadata,
  type RecordOptions,
  withText,
} from "../../train/data/record.ts";
import type { DataSource, RawSample, Skipped } from "../../train/data/sample.ts";
import { openFolder } from "../files.ts";
import { readPictureBytes } from "../image-file.ts";
import { contentHash } from "./hash.ts";

/** What is taken for a picture, by the end of its name. */
export const pictureNames: RegExp = /\.(png|jpe?g|webp)$/i;

const metadataName = "metadata.jsonl";

interface Listing {
  /** Relative paths with `/`, in the order of their code units. */
  readonly pictures: readonly string[];
  /** Relative paths of texts. */
  readonly texts: ReadonlySet<string>;
  /** By the relative path of the picture. */
  readonly records: ReadonlyMap<string, DataRecord>;
}

/**
 * @throws KoalaError E_FILE when there is no such folder, it cannot be read, or a metadata.jsonl in it is none
 */
export async function openPictureFolder(folder: string, o: RecordOptions = {}): Promise<DataSource> {
  await openFolder(folder);
  const listing = await list(folder);
  return {
    name: folder,
    key: JSON.stringify({ folder, ...o }),
    count: listing.pictures.length,
    samples: (skip) => samples(folder, listing, o, skip),
  };
}

async function list(root: string): Promise<Listing> {
  const pictures: string[] = [];
  const texts = new Set<string>();
  const records = new Map<string, DataRecord>();
  for (const name of await readdir(root, { recursive: true })) {
    const path = name.replaceAll("\\", "/");
    if (path.split("/").some((part) => part.startsWith("."))) continue;
    if (pictureNames.test(path)) pictures.push(path);
    else if (path.endsWith(".txt")) texts.add(path);
    else if (posix.basename(path) === metadataName) {
      const where = join(root, path);
      for (const [file, record] of parseMetadata(await readText(where), where))
        records.set(posix.join(posix.dirname(path), file), record);
    }
  }
  return { pictures: pictures.sort(), texts, records };
}

async function* samples(
  root: string,
  { pictures, texts, records }: Listing,
  o: RecordOptions,
  skip: (skipped: Skipped) => void,
): AsyncGenerator<RawSample> {
  const known = new Set(pictures);
  for (const path of records.keys())
    if (!known.has(path))
      skip({ kind: "missing file", id: path, reason: `${metadataName} lists it, and it is not there` });
  for (const id of pictures) {
    const sidecar = id.replace(pictureNames, ".txt");
    const text = texts.has(sidecar) ? await readText(join(root, sidecar)) : null;
    const described = describe(withText(records.get(id) ?? {}, text), join(root, id), o);
    if (described.captions.length === 0 && o.isCaptionOptional !== true) {
      skip({ kind: "no caption", id, reason: noCaption(posix.basename(sidecar), metadataName, o) });
      continue;
    }
    const bytes = await readPictureBytes(join(root, id)).catch((error: KoalaError) => error);
    if (bytes instanceof KoalaError) skip({ kind: "broken", id, reason: bytes.message });
    else yield { id, hash: contentHash(bytes), bytes, ...described };
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new KoalaError("E_FILE", {
      where: path,
      expected: "a text file that can be read",
      got: (cause as Error).message,
      cause,
    });
  }
}
