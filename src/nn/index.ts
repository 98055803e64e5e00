/** Layers: functions (scope, x, …) → Value whose parameter names are the checkpoint's. */

export { type AttentionOptions, attention, spatialAttention } from "./attention.ts";
export { type ClipLayerOptions, clipLayer } from "./clip-layer.ts";
export { type ConvOptions, conv, downsample, upsample } from "./conv.ts";
export { drawn } from "./draw.ts";
export { embedding, featureEmbedding } from "./embedding.ts";
export { feedForward, plainFeedForward } from "./feedforward.ts";
export { type LinearOptions, linear } from "./linear.ts";
export { bareLayerNorm, groupNorm, layerNorm, rmsNorm } from "./norm.ts";
export { type ResnetOptions, resnet } from "./resnet.ts";
export {
  fanIn,
  fedLeaf,
  type Init,
  type Leaf,
  normal,
  ones,
  type Parameter,
  Scope,
  zeros,
} from "./scope.ts";
export { type TransformerOptions, transformer2d, transformerBlock } from "./transformer.ts";
