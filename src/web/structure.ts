/** What a U-Net consists of, for a page to draw: parameters and arithmetic by stage, of a kept model or a preset. */

import { topological } from "../graph/order.ts";
import { type UNetCensus, unetCensus } from "../models/census.ts";
import { preset, presetNames } from "../models/presets.ts";
import { buildUNet } from "../models/unet.ts";
import { unetConfig } from "../models/unet-config.ts";
import { readJson } from "../weights/layout.ts";
import { openModel } from "./models.ts";

/** A model's location, or the name of a published model. */
export type StructureRequest = { readonly model: string } | { readonly preset: string };

export interface Structure {
  readonly name: string;
  readonly census: UNetCensus;
  /** Of one run of the network at the size that it was trained for, by the census' stages. */
  readonly flops: Readonly<Record<string, number>>;
  /** Latent cells of a side there. */
  readonly cells: number;
  /** Names that `preset` takes. */
  readonly presets: readonly string[];
}

/** Where a config is silent: of SDXL and its relatives. */
const USUAL_CELLS = 128;
/** Of CLIP. */
const TOKENS = 77;

/** `down_blocks.0.…` → DW1, as the census calls it. */
function stageOf(label: string): string {
  const [, kind, block] = /^(down_blocks|up_blocks|mid_block)(?:\.(\d+))?/.exec(label) ?? [];
  if (kind === undefined) return "stem";
  return kind === "mid_block" ? "MID" : `${kind === "down_blocks" ? "DW" : "UP"}${Number(block) + 1}`;
}

/** @throws KoalaError E_CONFIG, E_PRESET, and what opening the model throws */
export async function structureOf(of: StructureRequest): Promise<Structure> {
  const name = "model" in of ? of.model : of.preset;
  const json =
    "model" in of ? await readJson(await openModel(of.model), "unet/config.json") : preset(of.preset).unet;
  const config = unetConfig(json);
  const cells = config.sampleSize ?? USUAL_CELLS;
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
