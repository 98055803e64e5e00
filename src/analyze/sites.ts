/** Where the transformer blocks of a U-Net are, read off the names of its taps, in the order of the network. */

/** One `BasicTransformerBlock`. */
export interface Site {
  /** `DW-2`, `Mid`, `UP-1`: the paper's names of stages, counted from 1. */
  readonly stage: string;
  /** The transformer that it belongs to: `down_blocks.1.attentions.0`. */
  readonly transformer: string;
  /** Of its transformer, from 0. */
  readonly layer: number;
  /** Its output's tap, and the root of those of its parts: `….transformer_blocks.0`. */
  readonly path: string;
}

const pattern =
  /^((down_blocks|mid_block|up_blocks)(?:\.(\d+))?\.attentions\.\d+)\.transformer_blocks\.(\d+)$/;

export function sitesOf(taps: Iterable<string>): Site[] {
  return [...taps].flatMap((path) => {
    const [, transformer = "", kind, block, layer] = pattern.exec(path) ?? [];
    if (kind === undefined) return [];
    const number = Number(block) + 1;
    const stage = kind === "mid_block" ? "Mid" : `${kind === "down_blocks" ? "DW" : "UP"}-${number}`;
    return [{ stage, transformer, layer: Number(layer), path }];
  });
}

/** The sites by stage, in the order of the network. */
export function byStage(sites: readonly Site[]): Map<string, Site[]> {
  const stages = new Map<string, Site[]>();
  for (const site of sites) stages.set(site.stage, [...(stages.get(site.stage) ?? []), site]);
  return stages;
}
