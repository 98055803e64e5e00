/** The door `koala-diffusion/models`: architectures, their configs, published presets, and what they are made of. */

export { type Built, build } from "./models/built.ts";
export {
  checkpointBytes,
  countParameters,
  flopsOf,
  type Kind,
  type Parameters,
  type UNetCensus,
  unetCensus,
} from "./models/census.ts";
export {
  type ClipConfig,
  type ClipInputs,
  type ClipOutputs,
  clip,
  clipConfig,
  clipInputs,
} from "./models/clip.ts";
export {
  buildClipText,
  type ClipTextConfig,
  type ClipTextInputs,
  type ClipTextOutputs,
  clipText,
  clipTextConfig,
  clipTextInputs,
  eosRows,
  type TextSize,
} from "./models/clip-text.ts";
export {
  buildClipVision,
  type ClipVisionConfig,
  type ClipVisionOutputs,
  clipVision,
  clipVisionConfig,
  clipVisionInputs,
} from "./models/clip-vision.ts";
export { guidanceEmbedding, type SinusoidOptions, timestepEmbedding } from "./models/conditioning.ts";
export type { Json, JsonObject } from "./models/config.ts";
export { defaultsFor, type Family, type FolderFacts, type ModelDefaults } from "./models/detect.ts";
export {
  buildDit,
  buildDitNoise,
  type DitInputs,
  type DitSize,
  dit,
  ditInputs,
  MASKED,
} from "./models/dit.ts";
export { type DitConfig, ditConfig } from "./models/dit-config.ts";
export {
  type PixartPreset,
  type PixartPresetName,
  pixartFiles,
  pixartPresetNames,
  pixartPresets,
} from "./models/pixart-presets.ts";
export type { TokenizerSettings } from "./models/preset-parts.ts";
export { type Preset, type PresetName, preset, presetFiles, presetNames, presets } from "./models/presets.ts";
export {
  buildT5,
  buildT5Pieces,
  type T5Config,
  type T5Inputs,
  t5Config,
  t5Encoder,
  t5Inputs,
} from "./models/t5-encoder.ts";
export { buildUNet, type UNetInputs, type UNetSize, unet, unetInputs } from "./models/unet.ts";
export { type Level, SIZE_NUMBERS, type UNetConfig, unetConfig } from "./models/unet-config.ts";
export {
  buildVaeDecoder,
  buildVaeEncoder,
  type VaeConfig,
  type VaeSize,
  vaeConfig,
  vaeDecoder,
  vaeEncoder,
  vaeFactor,
} from "./models/vae.ts";
export {
  buildVaeTinyDecoder,
  buildVaeTinyEncoder,
  type VaeTinyConfig,
  vaeTinyConfig,
  vaeTinyDecoder,
  vaeTinyEncoder,
  vaeTinyFactor,
} from "./models/vae-tiny.ts";
