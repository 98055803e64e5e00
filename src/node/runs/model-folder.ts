/** A run's result as a diffusers folder: one component new, the others those of the model that the run began with. */

import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../core/assert.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { castFloat } from "../../tensor/tensor.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { type ModelIndex, readModelIndex } from "../../weights/layout.ts";
import { planSafetensors, streamSafetensors } from "../../weights/safetensors-writer.ts";
import { componentCopies, placeCopy } from "../cli/component-files.ts";
import { makeNewFolder } from "../cli/new-folder.ts";
import { writeAtomically } from "../files.ts";

/** What is new in the folder. */
export interface NewPart {
  /** `unet`, `vae`. */
  readonly name: string;
  /** Small JSON files of the component by name, `config.json` among them. */
  readonly files: Readonly<Record<string, unknown>>;
}

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

/** Makes the folder with everything but the new weights, unless it is there. @throws KoalaError E_OUTPUT, E_DISK, E_FILE */
export async function makeModelFolder(target: string, base: ModelFiles, part: NewPart): Promise<void> {
  if (existsSync(target)) return;
  const copies = await componentCopies(base, await indexOf(base), part.name);
  await makeNewFolder(target, 0, async (folder) => {
    for (const copy of copies) await placeCopy(base, copy, folder);
    await mkdir(join(folder, part.name), { recursive: true });
    for (const [name, content] of Object.entries(part.files))
      await writeFile(join(folder, part.name, name), json(content));
  });
}

/** Writes the new component's weights, whole or not at all. @throws KoalaError E_OUTPUT, E_DISK */
export async function writePart(
  target: string,
  part: string,
  weights: ReadonlyMap<string, Tensor>,
  dtype: "float16" | "float32",
): Promise<void> {
  const specs = [...weights].map(([name, { shape }]) => ({ name, dtype, shape }));
  const plan = planSafetensors(specs, { format: "pt" });
  const load = ({ name }: { name: string }): Tensor => castFloat(weights.get(name) as Tensor, dtype);
  const file = "diffusion_pytorch_model.safetensors"; // what diffusers looks for
  await writeAtomically(join(target, part, file), streamSafetensors(plan, load));
}
