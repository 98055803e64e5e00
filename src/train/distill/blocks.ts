/**
 * A diffusion transformer beside its teacher, by stages that are thirds of the depth on both sides. The last feature of a stage is
 * what its last block gives, so that of TX-3 is the last of the network.
 */

import { check } from "../../core/assert.ts";
import type { DitConfig } from "../../models/dit-config.ts";
import { stageOfBlock, transformerStages } from "../../pipeline/transformer-stages.ts";
import { matchedBlocks } from "./layers.ts";
import { everything, type FeatureKind, type SiteOptions, type Sites, suffixes } from "./sites.ts";

/** @throws KoalaError E_CONFIG for a student that is said to be cut out of another network */
export function ditSites(
  { layers: theirs }: Pick<DitConfig, "layers">,
  { layers: own }: Pick<DitConfig, "layers">,
  { plan, map }: SiteOptions,
): Sites {
  check(plan === undefined || "blocks" in plan, "E_CONFIG", () => ({
    where: "student",
    expected: "one that was cut out of a transformer",
    got: "blocks of a U-Net",
  }));
  const stages = transformerStages(own, theirs);
  const count = stages.length;
  const tap = (block: number, suffix = ""): string => `transformer_blocks.${block}${suffix}`;
  const blocks = Array.from({ length: own }, (_, l) => l);
  // A student deeper than its teacher has blocks without a match: their names show up as missing.
  const byMap = own > theirs ? blocks.map((l) => [l]) : matchedBlocks(map ?? "first", theirs, own);
  const matched = plan === undefined || map !== undefined ? byMap : plan.blocks.map((block) => [block]);

  function pairs(name: string, kind: FeatureKind): [string, string][] {
    const stage = stages.indexOf(name);
    const lastOf = (layers: number): number => Math.ceil(((stage + 1) * layers) / count) - 1;
    if (kind === "LF") return [[tap(lastOf(own)), tap(lastOf(theirs))]];
    if (kind === "Res") return [];
    const suffix = `.${suffixes[kind]}`;
    return blocks
      .filter((l) => stageOfBlock(l, own, count) === stage)
      .flatMap((l) =>
        (matched[l] ?? []).map((block): [string, string] => [tap(l, suffix), tap(block, suffix)]),
      );
  }

  return {
    stages,
    select(set) {
      switch (set) {
        case "koala":
          return { SA: "all" };
        case "bk-sdm":
          return { LF: "all" };
        case "all":
          return everything;
      }
    },
    pairs,
  };
}
