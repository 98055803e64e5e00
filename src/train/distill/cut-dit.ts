/**
 * A shallower diffusion transformer out of a deeper one: some of its blocks, everything else as it is.
 * Source: KOALA (arXiv:2312.04005), its table of features for PixArt-Σ.
 */

import { check } from "../../core/assert.ts";
import { jsonObject } from "../../models/config.ts";
import { buildDit } from "../../models/dit.ts";
import { ditConfig } from "../../models/dit-config.ts";
import type { Cut, CutOptions } from "./cut.ts";
import { keptBlocks } from "./layers.ts";
import { type BlockPlan, originOf } from "./plan.ts";
import { blockRuleSource } from "./rules.ts";

export interface BlockRule {
  readonly rule: string;
  /** Blocks that stay. */
  readonly count: number;
}

/**
 * Cuts `count` blocks out of a teacher with that `transformer/config.json`.
 * @throws KoalaError E_MODEL when it has not so many, and for options that only U-Nets have; E_CONFIG
 */
export function cutDit(
  teacherConfig: unknown,
  { rule, count }: BlockRule,
  o: CutOptions = {},
): Cut<BlockPlan> {
  const json = jsonObject(teacherConfig, "transformer/config.json");
  const { layers } = ditConfig(json);
  check(count >= 1 && count <= layers, "E_MODEL", () => ({
    where: rule,
    expected: `1 to ${layers} blocks, since the teacher has ${layers}`,
    got: `${count}`,
  }));
  for (const [option, value] of [
    ["depth", o.depth],
    ["mid", o.hasMid],
  ] as const)
    check(value === undefined, "E_MODEL", () => ({
      where: option,
      expected: "a student of a U-Net",
      got: `${rule}, whose name says how many blocks stay`,
    }));
  const { keep = "first", seed = 0 } = o;
  const plan: BlockPlan = { blocks: keptBlocks(keep, layers, count, seed, "transformer_blocks") };
  const config = { ...json, num_layers: count };
  const c = ditConfig(config);
  const { parameters } = buildDit(c, { batch: 1, height: c.patch, width: c.patch, tokens: 1 });
  return {
    ...{ config, plan, parameters },
    sources: new Map([...parameters.keys()].map((name) => [name, originOf(plan, name)])),
    how: { rule, source: blockRuleSource, keep, ...(keep === "random" ? { seed } : {}) },
  };
}
