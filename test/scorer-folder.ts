/** A tiny CLIP that loads: the committed config of test/golden/evaluation, weights by the rule of fill.ts, the emoji model's tokenizer. */

import { cpSync } from "node:fs";
import { join } from "node:path";
import { buildClipText, clipTextConfig } from "../src/models/clip-text.ts";
import { buildClipVision, clipVisionConfig } from "../src/models/clip-vision.ts";
import { float32, type Tensor } from "../src/tensor/tensor.ts";
import { fill } from "./fill.ts";
import { goldenJson } from "./golden.ts";
import { emojiModel, writeWeights } from "./model-folder.ts";

const clip = new URL("golden/evaluation/clip", import.meta.url).pathname;

/** Every weight of both towers, by its name in transformers. */
export function scorerWeights(): Record<string, Tensor> {
  const { text_config, vision_config, projection_dim } = goldenJson("evaluation/clip/config.json");
  const own = (config: object, name: string) => ({ ...config, projection_dim, architectures: [name] });
  const built = [
    buildClipText(clipTextConfig(own(text_config, "CLIPTextModelWithProjection")), { batch: 1, tokens: 2 }),
    buildClipVision(clipVisionConfig(own(vision_config, "CLIPVisionModelWithProjection")), 1),
  ];
  return Object.fromEntries(
    built.flatMap(({ parameters }) =>
      [...parameters].map(([name, { value }]) => [name, float32(value.shape, fill(name, value.shape))]),
    ),
  );
}

/** Makes `folder` the scorer whose numbers are in test/golden/evaluation. */
export function writeScorer(folder: string): string {
  cpSync(clip, folder, { recursive: true });
  cpSync(join(emojiModel, "tokenizer"), folder, { recursive: true });
  writeWeights(join(folder, "model.safetensors"), scorerWeights());
  return folder;
}
