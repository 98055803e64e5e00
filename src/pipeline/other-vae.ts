/** Another VAE than the model's own: one that was mended for half precision, or a tiny one that decodes in a twentieth of the time. */

import { check } from "../core/assert.ts";
import type { ModelFiles } from "../weights/files.ts";
import type { Model } from "./model.ts";
import { openVaeAlone, type VaePart } from "./parts.ts";
import { xlScalingFactor } from "./parts-of.ts";

/** What `vae: "tiny"` means, by the scaling factor of the latents that it was made for. Source: madebyollin/taesd. */
const tinyVaes: ReadonlyMap<number, string> = new Map([
  [xlScalingFactor, "madebyollin/taesdxl"],
  [0.18215, "madebyollin/taesd"],
]);

/**
 * Where the VAE of that name is: `tiny`, or a folder or hub id.
 * @throws KoalaError E_MODEL where no tiny one is known for the model's latents
 */
export function vaeLocation(name: string, own: VaePart, model: string): string {
  if (name !== "tiny") return name;
  const found = tinyVaes.get(own.scalingFactor);
  check(found !== undefined, "E_MODEL", () => ({
    where: model,
    expected: "latents that a tiny VAE is known for: those of Stable Diffusion 1, 2 or XL",
    got: `a VAE with scaling factor ${own.scalingFactor}`,
    hint: "Name the folder or hub id of one that was made for this model: --vae DIR",
  }));
  return found;
}

/** `model` with the VAE in `files`. @throws KoalaError E_CONFIG when it is for other latents */
export async function withVae(model: Model, files: ModelFiles): Promise<Model> {
  const vae = await openVaeAlone(files);
  const facts = ({ latentChannels, factor }: VaePart): string =>
    `${latentChannels} channels, ${factor} px a cell`;
  check(facts(vae) === facts(model.vae), "E_CONFIG", () => ({
    where: files.location,
    expected: `a VAE for this model's latents: ${facts(model.vae)}`,
    got: facts(vae),
  }));
  return { ...model, vae };
}
