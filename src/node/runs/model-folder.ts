/** A run's result as a diffusers folder: one component new, the others those of the model that the run began with. */

import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { check } from "../../core/assert.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { castFloat } from "../../tensor/tensor.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { type ModelIndex, readModelIndex } from "../../weights/layout.ts";
import { planSafetensors, streamSafetensors } from "../../weights/safetensors-writer.ts";
import { componentCopies, placeCopy } from "../cli/component-files.ts";
import { makeNewFolder } from "../cli/new-folder.ts";
import { writeAtomically } from "../files.ts";

/** A model's place that holds from any folder: a path, or a hub id as it is. */
export const absolute = (location: string): string => (existsSync(location) ? resolve(location) : location);

/** What is new in the folder. */
export interface NewPart {
  /** `unet`, `vae`; "" is the folder itself. */
  readonly name: string;
  /** Small files of the component by name, `config.json` among them: texts as they stand, anything else as JSON. */
  readonly files: Readonly<Record<string, unknown>>;
  /** Which library's name its weights have; absent: diffusers'. */
  readonly library?: "diffusers" | "transformers";
  /** What its weights are called as a file, where that is no library's name for a component. */
  readonly file?: string;
  /** Names of the weights that go into it; absent: all. */
  readonly holds?: RegExp;
}

/** The names that the libraries look for. */
const weightsFile = {
  diffusers: "diffusion_pytorch_model.safetensors",
  transformers: "model.safetensors",
} as const;

/** @throws KoalaError E_MODEL where the files are no diffusers folder, which alone has the parts to copy */
export async function indexOf(files: ModelFiles): Promise<ModelIndex> {
  const index = await readModelIndex(files);
  check(index !== null, "E_MODEL", () => ({
    where: files.location,
    expected: "a diffusers folder (model_index.json), whose other parts go into the result",
    got: "none",
  }));
  return index;
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/**
 * Makes the folder with everything but the new weights, unless it is there; without a `base` of the new parts alone.
 * @throws KoalaError E_OUTPUT, E_DISK, E_FILE
 */
export async function makeModelFolder(
  target: string,
  base: ModelFiles | null,
  parts: readonly [NewPart, ...NewPart[]],
): Promise<void> {
  if (existsSync(target)) return;
  const copies =
    base === null
      ? []
      : await componentCopies(
          base,
          await indexOf(base),
          parts.map(({ name }) => name),
        );
  await makeNewFolder(target, 0, async (folder) => {
    for (const copy of copies) await placeCopy(base as ModelFiles, copy, folder);
    for (const part of parts) {
      await mkdir(join(folder, part.name), { recursive: true });
      for (const [name, content] of Object.entries(part.files))
        await writeFile(join(folder, part.name, name), typeof content === "string" ? content : json(content));
    }
  });
}

/**
 * Writes the new component's weights, whole or not at all, and over its config.json the fields `config` that they bring.
 * @throws KoalaError E_OUTPUT, E_DISK
 */
export async function writePart(
  target: string,
  part: NewPart,
  { weights, config }: { readonly weights: ReadonlyMap<string, Tensor>; readonly config: object },
  dtype: "float16" | "float32",
): Promise<void> {
  const own = [...weights].filter(([name]) => part.holds === undefined || part.holds.test(name));
  if (own.length === 0) return;
  const specs = own.map(([name, { shape }]) => ({ name, dtype, shape }));
  const plan = planSafetensors(specs, { format: "pt" });
  const load = ({ name }: { name: string }): Tensor => castFloat(weights.get(name) as Tensor, dtype);
  const file = part.file ?? weightsFile[part.library ?? "diffusers"];
  await writeAtomically(join(target, part.name, file), streamSafetensors(plan, load));
  if (Object.keys(config).length > 0)
    await writeAtomically(
      join(target, part.name, "config.json"),
      json({ ...(part.files["config.json"] as object), ...config }),
    );
}
