/** The architectures by name: the one place that lists them. */

import type { TensorStore } from "../../tensor/stored.ts";
import { ditNetwork } from "./dit.ts";
import type { Network } from "./network.ts";
import { unetNetwork } from "./unet.ts";

const kinds: Readonly<
  Record<Network["name"], (json: unknown, store: TensorStore, where: string) => Network>
> = { unet: unetNetwork, transformer: ditNetwork };

/** The network of that `config.json`, read from the file `where`. @throws KoalaError E_CONFIG */
export const openNetwork = (
  name: Network["name"],
  json: unknown,
  store: TensorStore,
  where: string,
): Network => kinds[name](json, store, where);

/** Classes of diffusers that can be trained, and what they are here. */
export const denoiserClasses: Readonly<Record<string, Network["name"]>> = {
  UNet2DConditionModel: "unet",
  Transformer2DModel: "transformer",
  PixArtTransformer2DModel: "transformer",
};
