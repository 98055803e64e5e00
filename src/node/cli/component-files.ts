/** The files of a pipeline's components as they go into another folder: one set of weights each, under the plain names. */

import { link, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ModelFiles } from "../../weights/files.ts";
import { findWeights, type ModelIndex, parseShardIndex, readJson } from "../../weights/layout.ts";
import { writeAtomically } from "../files.ts";

export interface Copy {
  readonly from: string;
  readonly to: string;
  /** Weights, which may be shared with the other folder on disk; small files are copied. */
  readonly isWeights: boolean;
}

const WEIGHTS =
  /\.(safetensors|bin|ckpt|pt|pth|msgpack|h5|onnx|onnx_data|pb|xml|gguf)$|\.index(\.[\w-]+)?\.json$/;

/**
 * What to copy of a pipeline's folder for everything but the components `except`: configs, tokenizers and the weights that a reader
 * takes, so that a folder of fp16 variants becomes one that loads without asking for them.
 * @throws KoalaError E_MODEL, E_FILE, E_CONFIG
 */
export async function componentCopies(
  files: ModelFiles,
  index: ModelIndex,
  except: string | readonly string[],
): Promise<Copy[]> {
  const paths = await files.list();
  const small = (path: string): Copy => ({ from: path, to: path, isWeights: false });
  const copies = paths
    .filter((path) => path === "model_index.json" || /^licen[cs]e[^/]*$/i.test(path))
    .map(small);
  for (const name of index.components.keys()) {
    if ([except].flat().includes(name)) continue;
    const own = paths.filter((path) => path.startsWith(`${name}/`));
    copies.push(...own.filter((path) => !WEIGHTS.test(path)).map(small));
    if (own.some((path) => path.endsWith(".safetensors")))
      copies.push(...(await weightCopies(files, paths, name)));
    else
      copies.push(
        ...own.filter((path) => WEIGHTS.test(path)).map((path) => ({ ...small(path), isWeights: true })),
      );
  }
  return copies;
}

async function weightCopies(files: ModelFiles, paths: readonly string[], name: string): Promise<Copy[]> {
  const where = `${files.location}/${name}`;
  const weights = findWeights(paths, name, undefined, where);
  const plain = (path: string): string =>
    weights.variant === null ? path : path.replace(`.${weights.variant}.`, ".");
  if (weights.kind === "files")
    return weights.paths.map((path) => ({ from: path, to: plain(path), isWeights: true }));
  const shards = new Set(parseShardIndex(await readJson(files, weights.path), where).values());
  return [
    { from: weights.path, to: plain(weights.path), isWeights: false },
    ...[...shards].map((shard) => ({ from: `${name}/${shard}`, to: `${name}/${shard}`, isWeights: true })),
  ];
}

/** Bytes of one read: what is copied never lies in memory whole. */
const CHUNK = 1 << 24;

/**
 * Puts a file into `folder`: weights as a hard link where the file system allows it, else as a copy.
 * @throws KoalaError E_FILE, E_OUTPUT, E_DISK
 */
export async function placeCopy(
  files: ModelFiles,
  { from, to, isWeights }: Copy,
  folder: string,
): Promise<void> {
  const target = join(folder, to);
  await mkdir(dirname(target), { recursive: true });
  const local = files.localPath(from);
  const isLinked = isWeights && local !== null && (await link(local, target).then(yes, no));
  if (!isLinked) await writeAtomically(target, piecesOf(files, from));
}

const yes = (): boolean => true;
const no = (): boolean => false;

async function* piecesOf(files: ModelFiles, path: string): AsyncGenerator<Uint8Array> {
  const end = await files.size(path);
  for (let at = 0; at < end; at += CHUNK) yield files.read(path, at, Math.min(at + CHUNK, end));
}
