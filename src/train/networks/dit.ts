/**
 * PixArt's diffusion transformer as training knows it. Where it says its own uncertainty too (learned sigma: twice the
 * channels), the loss reads the half that is the noise, as PixArt's pipelines do: no sampler here looks at the other half,
 * and a target for it would compete with the noise. Its rows of the last layer get no gradient; they stay in the weights, so
 * that a student has the shape that diffusers loads.
 */

import { timestepEmbedding } from "../../models/conditioning.ts";
import { jsonObject } from "../../models/config.ts";
import { type DitInputs, dit, ditInputs } from "../../models/dit.ts";
import { DIT_FEATURES, DIT_SINUSOID, ditConfig, leftInDitFiles } from "../../models/dit-config.ts";
import { slice } from "../../ops/index.ts";
import { toldOrNot } from "../../pipeline/pixart.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor } from "../../tensor/tensor.ts";
import { ditSites } from "../distill/blocks.ts";
import { cutDit } from "../distill/cut-dit.ts";
import { blockRuleCount } from "../distill/rules.ts";
import type { Network } from "./network.ts";

/** Numbers a picture in a batch's `sizes`: original height and width, crop, target height and width. */
const SIZE_NUMBERS = 6;

/** @throws KoalaError E_CONFIG */
export function ditNetwork(given: unknown, store: TensorStore, where = "transformer/config.json"): Network {
  const json = store.tensors.size === 0 ? jsonObject(given, where) : toldOrNot(given, store, where);
  const c = ditConfig(json, where);
  const features = (values: readonly number[], ...shape: number[]): Tensor =>
    float32([...shape, DIT_FEATURES], timestepEmbedding(values, DIT_FEATURES, DIT_SINUSOID));
  return {
    ...{ name: "transformer", title: "transformer", json, store, unit: c.patch },
    facts: `${c.inChannels} channels, ${c.textChannels} of text, ${c.hasSizes ? "told" : "not told"} sizes`,
    ignorable: leftInDitFiles,
    inputs: (size) => ditInputs(c, size),
    predict(s, inputs) {
      const said = dit(s, inputs as unknown as DitInputs, c);
      return c.outChannels === c.inChannels ? said : slice(said, { axis: 1, start: 0, end: c.inChannels });
    },
    timeFeatures: (timesteps) => features(timesteps, timesteps.length),
    conditions({ text, mask, sizes, captions: { length } }) {
      const told = { text: text as Tensor, mask: mask as Tensor };
      if (!c.hasSizes) return told;
      // PixArt-alpha's InternalDataMS: the picture's own height and width, the ratio of what is seen of it
      const rows = Array.from({ length }, (_, n) => sizes.slice(n * SIZE_NUMBERS, (n + 1) * SIZE_NUMBERS));
      const ratios = rows.map(([, , , , height = 0, width = 0]) => height / width);
      return {
        ...told,
        resolution: features(
          rows.flatMap((row) => row.slice(0, 2)),
          ...[length, 2],
        ),
        aspect_ratio: features(ratios, length),
      };
    },
    cut: (rule, o) => cutDit(json, { rule, count: blockRuleCount(rule) }, o),
    sites: (student, o) => ditSites(c, ditConfig(student), o),
  };
}
