/** Where the transformer blocks of a denoiser are, read off the names of its taps, in the order of the network. */

import { stageOfBlock, transformerStages } from "../pipeline/transformer-stages.ts";

/** One block: a U-Net's `BasicTransformerBlock`, or one of a diffusion transformer. */
export interface Site {
  /**
   * `DW-2`, `Mid`, `UP-1`: the paper's names of stages, counted from 1. A diffusion transformer's are thirds of its depth,
   * `TX-1` to `TX-3`; one of fewer blocks has as many as blocks.
   */
  readonly stage: string;
  /** The transformer that it belongs to: `down_blocks.1.attentions.0`, or `transformer`, the whole network. */
  readonly transformer: string;
  /** What a pipeline calls the block whose heads it has: `down_blocks.1`, `transformer_blocks.3`. */
  readonly block: string;
  /** Of its transformer, from 0. */
  readonly layer: number;
  /** Its output's tap, and the root of those of its parts: `….transformer_blocks.0`. */
  readonly path: string;
}

const inUNet = /^(((?:down|up)_blocks\.\d+|mid_block)\.attentions\.\d+)\.transformer_blocks\.(\d+)$/;
const inTransformer = /^transformer_blocks\.(\d+)$/;

export function sitesOf(taps: Iterable<string>): Site[] {
  const names = [...taps];
  const layers = names.filter((name) => inTransformer.test(name)).length;
  const thirds = transformerStages(layers);
  return names.flatMap((path): Site[] => {
    const [, own] = inTransformer.exec(path) ?? [];
    if (own !== undefined) {
      const layer = Number(own);
      const stage = thirds[stageOfBlock(layer, layers, thirds.length)] ?? "";
      return [{ stage, transformer: "transformer", block: path, layer, path }];
    }
    const [, transformer, block, layer] = inUNet.exec(path) ?? [];
    if (transformer === undefined || block === undefined) return [];
    return [{ stage: stageOf(block), transformer, block, layer: Number(layer), path }];
  });
}

/** `DW-2` of `down_blocks.1`. */
function stageOf(block: string): string {
  if (block === "mid_block") return "Mid";
  return `${block.startsWith("down") ? "DW" : "UP"}-${Number(block.split(".")[1]) + 1}`;
}

/** The tap of the layer before it in its transformer, where it is not the first. */
export const pathBefore = ({ path, layer }: Site): string => path.replace(/\d+$/, String(layer - 1));

/** The sites by stage, in the order of the network. */
export function byStage(sites: readonly Site[]): Map<string, Site[]> {
  const stages = new Map<string, Site[]>();
  for (const site of sites) stages.set(site.stage, [...(stages.get(site.stage) ?? []), site]);
  return stages;
}
