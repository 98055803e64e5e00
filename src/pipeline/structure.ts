/** What a U-Net consists of, for a page to draw: parameters and arithmetic by stage, of a model or a preset. */

import { topological } from "../graph/order.ts";
import { stageOf, type UNetCensus, unetCensus } from "../models/census.ts";
import { preset, presetNames } from "../models/presets.ts";
import { buildUNet } from "../models/unet.ts";
import { unetConfig } from "../models/unet-config.ts";

export interface Structure {
  readonly name: string;
  readonly census: UNetCensus;
  /** Of one run of the network at the size that it was trained for, by the census' stages. */
  readonly flops: Readonly<Record<string, number>>;
  /** Latent cells of a side there. */
  readonly cells: number;
  /** Names that `presetStructure` takes. */
  readonly presets: readonly string[];
}

/** Where a config is silent: of SDXL and its relatives. */
export const usualCells = 128;
/** Of CLIP. */
const TOKENS = 77;

/** Of a `unet/config.json`. @throws KoalaError E_CONFIG */
export function unetStructure(name: string, json: unknown): Structure {
  const config = unetConfig(json);
  const cells = config.sampleSize ?? usualCells;
  const { parameters, outputs } = buildUNet(config, {
    batch: 1,
    height: cells,
    width: cells,
    tokens: TOKENS,
  });
  const flops: Record<string, number> = {};
  for (const node of topological(Object.values(outputs))) {
    const stage = stageOf(node.label);
    flops[stage] =
      (flops[stage] ?? 0) +
      node.op.flops(
        node.inputs.map((x) => x.type),
        node.type,
        node.attrs,
      );
  }
  return { name, census: unetCensus(parameters), flops, cells, presets: presetNames };
}

/** Of a published model. @throws KoalaError E_PRESET */
export const presetStructure = (name: string): Structure => unetStructure(name, preset(name).unet);
