/** What a published model in 4 bits needs of a machine, before anything of it is fetched: read off its graphs. */

import { liveBytes } from "../graph/live.ts";
import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { buildClipText, clipTextConfig } from "../models/clip-text.ts";
import { preset } from "../models/presets.ts";
import { buildUNet } from "../models/unet.ts";
import { unetConfig } from "../models/unet-config.ts";
import { buildVaeDecoder, vaeConfig } from "../models/vae.ts";
import { size } from "../tensor/shape.ts";

export interface Needs {
  readonly name: string;
  /** Of the picture's sides. */
  readonly pixels: number;
  /** Of the folder that `koala quantize --to int4` makes. */
  readonly downloadBytes: number;
  /** While the network runs that takes the most: its weights as an engine holds them, and its values. */
  readonly memoryBytes: number;
  /** The largest single buffer, and the layer that it belongs to. */
  readonly bufferBytes: number;
  readonly bufferOf: string;
}

/** 4 bits a weight, and a float16 scale for 32 of them; token tables have 8. */
const BLOCK_BYTES = 4.5 / 8;
const TABLE_BYTES = 8.5 / 8;
const HALF_BYTES = 2;
const FLOAT_BYTES = 4;
/** Of CLIP. */
const TOKENS = 77;

interface Network {
  readonly name: string;
  readonly outputs: readonly Value[];
  /** On disk, of a weight of that many axes. */
  stored(axes: number, name: string): number;
  /** As the engine holds it: convolutions as floats (docs/quantization.md). */
  held(axes: number): number;
}

const parameters = (outputs: readonly Value[]): Value[] =>
  topological(outputs).filter(({ op }) => op.name === "param");

/** Of the model that a preset describes, for one picture of `pixels` x `pixels` with guidance. @throws KoalaError E_MODEL */
export function needsInFourBits(name: string, pixels: number): Needs {
  const { unet, vae, textEncoders } = preset(name);
  const kl = vaeConfig(vae);
  const cells = pixels / 2 ** (kl.channels.length - 1);
  const texts = textEncoders.map(
    (json, i): Network => ({
      name: i === 0 ? "text_encoder" : `text_encoder_${i + 1}`,
      outputs: Object.values(buildClipText(clipTextConfig(json), { batch: 2, tokens: TOKENS }).outputs),
      stored: (axes, its) =>
        axes < 2 ? HALF_BYTES : its.includes("token_embedding") ? TABLE_BYTES : BLOCK_BYTES,
      held: (axes) => (axes < 2 ? FLOAT_BYTES : TABLE_BYTES),
    }),
  );
  const built = buildUNet(unetConfig(unet), { batch: 2, height: cells, width: cells, tokens: TOKENS });
  const networks: Network[] = [
    ...texts,
    {
      name: "unet",
      outputs: Object.values(built.outputs),
      stored: (axes) => (axes < 2 ? HALF_BYTES : BLOCK_BYTES),
      held: (axes) => (axes === 2 ? BLOCK_BYTES : FLOAT_BYTES),
    },
    {
      name: "vae",
      outputs: Object.values(buildVaeDecoder(kl, { batch: 1, height: cells, width: cells }).outputs),
      stored: () => HALF_BYTES,
      held: () => FLOAT_BYTES,
    },
  ];
  let [downloadBytes, memoryBytes, bufferBytes, bufferOf] = [0, 0, 0, ""];
  for (const { name: network, outputs, stored, held } of networks) {
    let weights = 0;
    for (const { attrs, shape } of parameters(outputs)) {
      downloadBytes += size(shape) * stored(shape.length, attrs.name as string);
      weights += size(shape) * held(shape.length);
    }
    memoryBytes = Math.max(memoryBytes, weights + liveBytes(outputs));
    for (const { op, attrs, shape, label } of topological(outputs)) {
      const bytes = size(shape) * (op.name === "param" ? held(shape.length) : FLOAT_BYTES);
      if (bytes <= bufferBytes) continue;
      bufferBytes = bytes;
      bufferOf = `${network}: ${op.name === "param" ? attrs.name : label}`;
    }
  }
  return { name, pixels, downloadBytes, memoryBytes, bufferBytes, bufferOf };
}
