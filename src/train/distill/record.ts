/** What a cut leaves beside the student's weights, so that its distillation knows which layer learns from which. */

import { check } from "../../core/assert.ts";
import type { JsonObject } from "../../models/config.ts";
import type { Cut } from "./cut.ts";
import type { BlockOrigin, CutPlan } from "./plan.ts";

/** In the network's folder; diffusers reads nothing but `config.json` and the weights there. */
export const CUT_RECORD = "koala_cut.json";

/** The record: the rule and its options as they were used, the plan, and every tensor's origin. */
export const cutRecord = ({ how, plan, sources }: Cut, teacher: string): JsonObject => ({
  teacher,
  ...how,
  plan: planJson(plan),
  tensors: Object.fromEntries(sources),
});

function planJson(plan: CutPlan): JsonObject {
  if ("blocks" in plan) return { blocks: plan.blocks };
  const layers = (blocks: readonly BlockOrigin[]): JsonObject[] =>
    blocks.map(({ block, layers: kept }) => ({
      block,
      layers: kept.map((origin) => ({ layer: origin.layer, blocks: origin.blocks })),
    }));
  return { down: layers(plan.down), mid: plan.mid, up: layers(plan.up) };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isIndex = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
const areIndices = (value: unknown): value is number[] => Array.isArray(value) && value.every(isIndex);
const areLayers = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.every((layer) => isObject(layer) && isIndex(layer.layer) && areIndices(layer.blocks));
const areBlocks = (value: unknown): value is BlockOrigin[] =>
  Array.isArray(value) &&
  value.every((block) => isObject(block) && isIndex(block.block) && areLayers(block.layers));

/**
 * The plan in a record that was read from a file.
 * @throws KoalaError E_CONFIG
 */
export function planFromRecord(json: unknown, where: string): CutPlan {
  const plan = isObject(json) ? json.plan : undefined;
  if (isObject(plan) && areIndices(plan.blocks)) return { blocks: plan.blocks };
  const mid = isObject(plan) ? plan.mid : undefined;
  check(
    isObject(plan) && areBlocks(plan.down) && areBlocks(plan.up) && (mid === null || areIndices(mid)),
    "E_CONFIG",
    () => ({
      where,
      expected: "a plan of down, mid and up, or of blocks, as koala cut writes it",
      got: JSON.stringify(plan ?? null).slice(0, 60),
    }),
  );
  return { down: plan.down, mid: plan.mid as readonly number[] | null, up: plan.up };
}
