/**
 * Where an engine under Node finds a model's weights: in the files where they lie; what lies in none goes into the model
 * itself, or, where that is much, into a file of its own, a tensor at a time.
 */

import { mkdtemp, open, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, parse } from "node:path";
import { KoalaError } from "../core/errors.ts";
import type { PlacedWeight } from "../onnx/external.ts";
import type { ProtoData } from "../onnx/proto.ts";
import type { OnnxModel } from "../runtime/session.ts";

/** Tensors in no file go into the model itself while they are few: 64 MiB, small against a protobuf's 2 GiB. */
const INLINE_BYTES = 64 * 2 ** 20;
/** Of tensors in a file of ours: a cache line. */
const ALIGNMENT = 64;

export interface Placement {
  /** The root of the file system: every place in a file is told as a path from there. */
  readonly root: string;
  readonly weights: readonly PlacedWeight[];
  /** The files that they lie in. */
  readonly files: readonly string[];
  /** Whether the next placement will be the same: nothing lies in a file of ours. */
  readonly isLasting: boolean;
  /** Removes what was written for the load; what has mapped it keeps its bytes. */
  dispose(): Promise<void>;
}

/** @throws KoalaError E_DISK when there is no room for what lies in no file */
export async function placeWeights(model: OnnxModel): Promise<Placement> {
  const paths = new Map<string, string>();
  for (const { stored } of model.weights) {
    if (stored.file !== null && !paths.has(stored.file)) paths.set(stored.file, await realpath(stored.file));
  }
  const { root } = parse([...paths.values()][0] ?? tmpdir());
  const pathOf = (file: string | null): string | null => {
    const path = file === null ? undefined : paths.get(file);
    return path !== undefined && parse(path).root === root ? path : null; // another Windows drive: as if in no file
  };
  const loose = model.weights.filter(({ stored }) => pathOf(stored.file) === null);
  const looseBytes = loose.reduce((sum, { stored }) => sum + stored.byteLength, 0);
  const names = loose.map(({ name }) => name);
  const spill = looseBytes > INLINE_BYTES ? await spillTo(model, names) : null;
  const external = (path: string, offset: number, length: number): ProtoData => ({
    kind: "external",
    location: path.slice(root.length).replaceAll("\\", "/"), // forward slashes, which ONNX wants everywhere
    offset,
    length,
  });
  const weights: PlacedWeight[] = [];
  for (const { name, stored } of model.weights) {
    const path = pathOf(stored.file);
    if (path !== null) {
      weights.push({ name, stored, data: external(path, stored.offset, stored.byteLength) });
    } else if (spill !== null) {
      const offset = spill.offsets.get(name) ?? 0;
      weights.push({ name, stored, data: external(spill.path, offset, stored.byteLength) });
    } else {
      const { data } = await model.store.read(name);
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      weights.push({ name, stored, data: { kind: "inline", bytes } });
    }
  }
  const files = [...paths.values(), ...(spill === null ? [] : [spill.path])];
  return { root, weights, files, isLasting: spill === null, dispose: async () => spill?.dispose() };
}

interface Spill {
  readonly path: string;
  readonly offsets: ReadonlyMap<string, number>;
  dispose(): Promise<void>;
}

/** Writes tensors to a file of their own, one at a time. */
async function spillTo(model: OnnxModel, names: readonly string[]): Promise<Spill> {
  const folder = await mkdtemp(join(await realpath(tmpdir()), "koala-weights-"));
  const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const path = join(folder, "weights.bin");
  try {
    const file = await open(path, "w");
    try {
      const offsets = new Map<string, number>();
      let end = 0;
      for (const name of names) {
        const { data } = await model.store.read(name);
        offsets.set(name, end);
        await file.appendFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
        const padding = (ALIGNMENT - (data.byteLength % ALIGNMENT)) % ALIGNMENT;
        if (padding > 0) await file.appendFile(new Uint8Array(padding));
        end += data.byteLength + padding;
      }
      return { path, offsets, dispose };
    } finally {
      await file.close();
    }
  } catch (cause) {
    await dispose();
    if (cause instanceof KoalaError) throw cause; // of a weight that cannot be read
    throw new KoalaError("E_DISK", {
      where: path,
      expected: "room for the weights that lie in no file",
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "Set TMPDIR to a folder with more space.",
      cause,
    });
  }
}
