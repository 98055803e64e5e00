/** Stable Diffusion's U-Net as training knows it. */

import { timestepEmbedding } from "../../models/conditioning.ts";
import { jsonObject } from "../../models/config.ts";
import { type UNetInputs, unet, unetInputs } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { cutUNet } from "../distill/cut.ts";
import { unetRuleName } from "../distill/rules.ts";
import { unetSites } from "../distill/stages.ts";
import type { Network } from "./network.ts";

/** @throws KoalaError E_CONFIG */
export function unetNetwork(json: unknown, store: TensorStore, where = "unet/config.json"): Network {
  const c = unetConfig(json, where);
  const channels = c.down[0]?.channels ?? 0;
  return {
    ...{ name: "unet", title: "U-Net", json: jsonObject(json, where), store, unit: 1 },
    facts: `${c.inChannels} to ${c.outChannels} channels, ${c.textChannels} of text, ${c.added?.pooledChannels ?? 0} pooled`,
    ignorable: [],
    inputs: (size) => unetInputs(c, size),
    predict: (s, inputs) => unet(s, inputs as unknown as UNetInputs, c),
    timeFeatures: (timesteps) =>
      float32([timesteps.length, channels], timestepEmbedding(timesteps, channels, c.sinusoid)),
    conditions(loaded, hasZeroForEmpty) {
      const own = (states: Tensor): Tensor => (hasZeroForEmpty ? withoutEmpty(states, loaded) : states);
      const text = own(loaded.text as Tensor);
      if (c.added === null) return { text };
      const features = timestepEmbedding(loaded.sizes, c.added.sizeChannels, c.sinusoid);
      const batch = loaded.captions.length;
      return {
        text,
        pooled: own(loaded.pooled as Tensor),
        time_ids: float32([batch, features.length / batch], features),
      };
    },
    cut: (rule, o) => cutUNet(json, unetRuleName(rule), o),
    sites: (student, o) => unetSites(c, unetConfig(student), o),
  };
}

/** The rows of empty captions as the pipeline feeds them: zeros. */
function withoutEmpty(states: Tensor, { captions }: Loaded): Tensor {
  if (!captions.includes("")) return states;
  const data = toFloat32(states).slice();
  const each = data.length / captions.length;
  for (const [i, caption] of captions.entries()) if (caption === "") data.fill(0, i * each, (i + 1) * each);
  return float32(states.shape, data);
}
