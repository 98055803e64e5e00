/** What a U-Net consists of: of a kept model or a preset. */

import { presetStructure, type Structure, unetStructure } from "../pipeline/structure.ts";
import { readJson } from "../weights/layout.ts";
import { openModel } from "./models.ts";

export type { Structure };

/** A model's location, or the name of a published model. */
export type StructureRequest = { readonly model: string } | { readonly preset: string };

/** @throws KoalaError E_CONFIG, E_PRESET, and what opening the model throws */
export async function structureOf(of: StructureRequest): Promise<Structure> {
  return "model" in of
    ? unetStructure(of.model, await readJson(await openModel(of.model), "unet/config.json"))
    : presetStructure(of.preset);
}
