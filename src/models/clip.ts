/**
 * CLIP as a whole: a tower of texts and one of pictures that end in one space, and the scale of their likeness.
 *
 * Source: Radford et al. 2021, arXiv:2103.00020, section 2.3.
 * Parameter names are those of transformers' `CLIPModel`, which are those of its two towers and `logit_scale`.
 */

import type { TensorType, Value } from "../graph/op.ts";
import type { Scope } from "../nn/index.ts";
import { div, sqrt, square, sum } from "../ops/index.ts";
import {
  type ClipTextConfig,
  type ClipTextInputs,
  clipText,
  clipTextConfig,
  clipTextInputs,
} from "./clip-text.ts";
import { type ClipVisionConfig, clipVision, clipVisionConfig, clipVisionInputs } from "./clip-vision.ts";
import { ConfigReader, type JsonObject, jsonObject } from "./config.ts";

export interface ClipConfig {
  readonly text: ClipTextConfig;
  readonly vision: ClipVisionConfig;
  /** Width of the shared space. */
  readonly projection: number;
  /** Where training begins: the natural logarithm of what cosines are multiplied by. */
  readonly logitScale: number;
}

export type ClipInputs = ClipTextInputs & { readonly picture: Value };

export interface ClipOutputs {
  /** Unit vectors [N, P]. */
  readonly texts: Value;
  /** Unit vectors [N, P]. */
  readonly pictures: Value;
  /** []: the learned logarithm of what cosines are multiplied by. */
  readonly logitScale: Value;
}

/** ln(1 / 0.07): the paper, section 2.5. transformers' `CLIPConfig` rounds it to 2.6592. */
const INITIAL_LOGIT_SCALE = Math.log(1 / 0.07);

/** The configs of transformers' two towers within that of a `CLIPModel`: each can stand alone as a component's. */
export function towerConfigs(json: unknown, where: string): { text: JsonObject; vision: JsonObject } {
  const r = new ConfigReader(json, where);
  const projection_dim = r.count("projection_dim", 512);
  const tower = (field: string, model_type: string, architecture: string): JsonObject => ({
    ...jsonObject(r.raw(field), `${where} (${field})`),
    ...{ architectures: [architecture], model_type, projection_dim },
  });
  return {
    text: tower("text_config", "clip_text_model", "CLIPTextModelWithProjection"),
    vision: tower("vision_config", "clip_vision_model", "CLIPVisionModelWithProjection"),
  };
}

/**
 * Reads and checks the `config.json` of a `CLIPModel`.
 * @throws KoalaError E_CONFIG naming the field that is missing, malformed or not supported
 */
export function clipConfig(json: unknown, where = "config.json"): ClipConfig {
  const r = new ConfigReader(json, where);
  r.choices("architectures", ["CLIPModel"]);
  r.only({ model_type: ["clip"] });
  const { text, vision } = towerConfigs(json, where);
  return {
    text: clipTextConfig(text, `${where} (text_config)`),
    vision: clipVisionConfig(vision, `${where} (vision_config)`),
    projection: r.count("projection_dim", 512),
    logitScale: r.number("logit_scale_init_value", INITIAL_LOGIT_SCALE),
  };
}

/** What `clip` is fed for `batch` pairs: exactly these names. */
export const clipInputs = (c: ClipConfig, batch: number): Record<keyof ClipInputs, TensorType> => ({
  ...clipTextInputs({ batch, tokens: c.text.positions }),
  ...clipVisionInputs(c.vision, batch),
});

/** `x` [N, P] → the same, each row of length 1. */
const unit = (x: Value): Value => div(x, sqrt(sum(square(x), [-1], { keep: true })));

/** Texts and pictures as unit vectors of one space. */
export function clip(s: Scope, inputs: ClipInputs, c: ClipConfig): ClipOutputs {
  const logitScale = s.param("logit_scale", [], { kind: "constant", value: c.logitScale });
  const texts = clipText(s, inputs, c.text).projected as Value;
  const { projected: pictures } = clipVision(s, inputs.picture, c.vision);
  return { texts: unit(texts), pictures: unit(pictures), logitScale };
}
