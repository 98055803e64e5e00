/**
 * Everything a run must remember, in one safetensors file: weights, what the optimizer remembers, the average, and as JSON
 * in its metadata the step and what the caller adds (seed, config). One file, so that one renaming makes it whole.
 */

import { check } from "../core/assert.ts";
import { sameShape, show } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModelFiles } from "../weights/files.ts";
import { openSafetensors } from "../weights/safetensors.ts";
import { planSafetensors, streamSafetensors } from "../weights/safetensors-writer.ts";

/** Of this layout; a file of another is refused. */
const VERSION = 1;
const KEY = "training";

export interface StateInfo {
  /** Steps done. */
  readonly step: number;
  readonly optimizer: string;
  /** Of the loss, for the guard against divergence; null before the first step. */
  readonly meanLoss: number | null;
  /** What the caller wants back: seed, config, place in the data. JSON. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export interface TrainingState {
  readonly info: StateInfo;
  /** `weights/<name>`, `average/<name>`, `optimizer/<transform>.<key>/<name>`. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** The file's bytes, piece by piece; the caller writes them under a temporary name and renames that. */
export function stateFile({ info, tensors }: TrainingState): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const plan = planSafetensors(specs, { [KEY]: JSON.stringify({ version: VERSION, ...info }) });
  return streamSafetensors(plan, ({ name }) => tensors.get(name) as Tensor);
}

export interface StoredState {
  readonly info: StateInfo;
  readonly store: TensorStore;
}

/**
 * Reads the header of a state file.
 * @throws KoalaError E_FILE, E_SAFETENSORS, or E_WEIGHTS when it is no state of a training run
 */
export async function openState(files: ModelFiles, path: string): Promise<StoredState> {
  const file = await openSafetensors(files, path);
  const text = file.metadata.get(KEY);
  const { version, ...info } = (text === undefined ? {} : parse(text)) as StateInfo & { version?: number };
  check(version === VERSION, "E_WEIGHTS", () => ({
    where: `${files.location}/${path}`,
    expected: `the state of a training run, version ${VERSION}`,
    got: text === undefined ? "a file of weights" : `version ${version ?? "unknown"}`,
  }));
  return { info, store: file };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/**
 * Copies every tensor of `store` over that of its name in `tensors`; afterwards both hold the same.
 * @throws KoalaError E_WEIGHTS when a tensor is missing, surplus, or of another type
 */
export async function restoreTensors(
  store: TensorStore,
  tensors: ReadonlyMap<string, Tensor>,
  where: string,
): Promise<void> {
  const wrong: string[] = [];
  for (const [name, { dtype, shape }] of tensors) {
    const stored = store.tensors.get(name);
    if (stored === undefined) wrong.push(`${name} missing`);
    else if (stored.dtype !== dtype || !sameShape(stored.shape, shape))
      wrong.push(`${name} ${stored.dtype} ${show(stored.shape)} for ${dtype} ${show(shape)}`);
  }
  for (const name of store.tensors.keys()) if (!tensors.has(name)) wrong.push(`${name} surplus`);
  check(wrong.length === 0, "E_WEIGHTS", () => ({
    where,
    expected: "the state of this model and optimizer",
    got: `${wrong.slice(0, 8).join(", ")}${wrong.length > 8 ? ` and ${wrong.length - 8} more` : ""}`,
  }));
  for (const [name, t] of tensors) {
    const { data } = await store.read(name);
    (t.data as Uint8Array).set(data as Uint8Array);
  }
}
