/**
 * A smaller U-Net out of a larger one: the student's config in diffusers' form, and the teacher's tensor for each of its own.
 * Source: KOALA (arXiv:2312.04005), BK-SDM (arXiv:2305.15798) and its released code; the rules are in rules.ts.
 */

import { check } from "../../core/assert.ts";
import type { Parameters } from "../../models/census.ts";
import { type Json, type JsonObject, jsonObject } from "../../models/config.ts";
import { buildUNet } from "../../models/unet.ts";
import { type Level, type UNetConfig, unetConfig } from "../../models/unet-config.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { deriveStore } from "../../weights/stores.ts";
import { type Keep, keptBlocks } from "./layers.ts";
import { type BlockOrigin, type CutPlan, originOf, type UNetPlan } from "./plan.ts";
import { type CutRuleName, cutRules } from "./rules.ts";

export interface CutOptions {
  /** Which transformer blocks of a layer survive; default the first. */
  readonly keep?: Keep;
  /** Of a random choice; default 0. */
  readonly seed?: number;
  /** Most transformer blocks of a layer, instead of the rule's. */
  readonly depth?: number;
  /** Whether the middle block stays, instead of the rule's. */
  readonly hasMid?: boolean;
}

export interface Cut<P extends CutPlan = CutPlan> {
  /** The student's `config.json`. */
  readonly config: JsonObject;
  readonly plan: P;
  /** The rule and its options as they were used: what a record says of it. */
  readonly how: JsonObject;
  /** The student's tensors, in the order of the network. */
  readonly parameters: Parameters;
  /** The teacher's tensor of each of them. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Names do not depend on the size. */
const ANY_SIZE = { batch: 1, height: 8, width: 8, tokens: 1 };

/**
 * Cuts a student by a published rule out of a teacher with that `unet/config.json`.
 * @throws KoalaError E_MODEL when that student cannot be cut from that teacher: which stage, and why; E_CONFIG
 */
export function cutUNet(teacherConfig: unknown, rule: CutRuleName, o: CutOptions = {}): Cut<UNetPlan> {
  const teacher = unetConfig(teacherConfig);
  const hasMid = o.hasMid ?? cutRules[rule].hasMid;
  checkCut(teacher, rule, hasMid, o.depth);
  const plan = planOf(teacher, rule, hasMid, o);
  const config = configOf(jsonObject(teacherConfig, "unet/config.json"), teacher, plan);
  const { parameters } = buildUNet(unetConfig(config), ANY_SIZE);
  const sources = new Map([...parameters.keys()].map((name) => [name, originOf(plan, name)]));
  return { config, plan, parameters, sources, how: howOf(rule, hasMid, o) };
}

function howOf(rule: CutRuleName, mid: boolean, { keep = "first", seed = 0, depth }: CutOptions): JsonObject {
  return {
    rule,
    source: cutRules[rule].source,
    keep,
    ...(keep === "random" ? { seed } : {}),
    depth: depth ?? cutRules[rule].depth,
    mid,
  };
}

/** The teacher's tensors under the student's names, read from where they lie. */
export function cutStore(cut: Cut, teacher: TensorStore, where: string): TensorStore {
  const derived = new Map([...cut.sources].map(([name, from]) => [name, { from }]));
  return deriveStore(teacher, derived, where);
}

function checkCut(c: UNetConfig, rule: CutRuleName, hasMid: boolean, depth: number | undefined): void {
  const { needsXL, dropsCoarsest } = cutRules[rule];
  check(depth === undefined || (Number.isInteger(depth) && depth >= 1), "E_MODEL", () => ({
    where: "depth",
    expected: "a whole number of at least 1",
    got: `${depth}`,
  }));
  check(!needsXL || c.added !== null, "E_MODEL", () => ({
    where: `${rule}: add_embedding`,
    expected: "a teacher in SDXL's layout, which is told sizes and a pooled text",
    got: "a teacher without",
    hint: "From Stable Diffusion 1 and 2 cut bk-sdm-base, bk-sdm-small or bk-sdm-tiny.",
  }));
  check(!hasMid || c.mid !== null, "E_MODEL", () => ({
    where: `${rule}: Mid`,
    expected: "a teacher with a middle block, which this student keeps",
    got: "a teacher without",
    hint: "Leave the middle block out of the student too (--no-mid).",
  }));
  if (!dropsCoarsest) return;
  const keepsAll = "bk-sdm-base and bk-sdm-small keep every level.";
  check(c.down.length > 1, "E_MODEL", () => ({
    where: `${rule}: DW-1`,
    expected: "a teacher of two levels or more, since the coarsest is dropped",
    got: "one level",
    hint: keepsAll,
  }));
  const [fine, coarse] = c.down.slice(-2).map(({ channels }) => channels);
  check(fine === coarse, "E_MODEL", () => ({
    where: `${rule}: UP-1`,
    expected: "a teacher whose two coarsest levels are equally wide, since the coarsest is dropped",
    got: `${fine} and ${coarse} channels`,
    hint: keepsAll,
  }));
}

function planOf(c: UNetConfig, rule: CutRuleName, hasMid: boolean, o: CutOptions): UNetPlan {
  const { dropsCoarsest, depth: usual } = cutRules[rule];
  const depth = o.depth ?? usual ?? Number.POSITIVE_INFINITY;
  const kept = (n: number, place: string): number[] =>
    keptBlocks(o.keep ?? "first", n, depth, o.seed ?? 0, place);
  const block = (way: "down" | "up", index: number, { depths }: Level, layers: readonly number[]) => ({
    block: index,
    layers: layers.map((layer) => ({
      layer,
      blocks: kept(depths[layer] ?? 0, `${way}_blocks.${index}.attentions.${layer}`),
    })),
  });
  const down = c.down.map((level, i) => block("down", i, level, [0]));
  const up = c.up.map((level, i) => block("up", i, level, [0, level.depths.length - 1]));
  return {
    down: dropsCoarsest ? down.slice(0, -1) : down,
    mid: hasMid && c.mid !== null ? kept(c.mid.depths[0] ?? 0, "mid_block.attentions.0") : null,
    up: dropsCoarsest ? up.slice(1) : up,
  };
}

const depthsOf = ({ layers }: BlockOrigin): number[] => layers.map(({ blocks }) => blocks.length);

/** What a level's entry of `*_transformer_layers_per_block` says: one number where its layers agree. */
const entryOf = (depths: readonly number[]): Json =>
  depths.every((d) => d === depths[0]) ? Math.max(1, depths[0] ?? 1) : [...depths];

/** Fields that say the same for all levels, or are lists of one entry a level. */
const PER_LEVEL = ["attention_head_dim", "num_attention_heads", "cross_attention_dim"];

const hasTransformers = (block: BlockOrigin): boolean => depthsOf(block).some((d) => d > 0);

/** The teacher's config with what the plan changes. Every other field is the teacher's. */
function configOf(json: JsonObject, teacher: UNetConfig, plan: UNetPlan): JsonObject {
  const levels = plan.down.length;
  const lists = PER_LEVEL.flatMap((field): [string, Json][] => {
    const value = json[field];
    return Array.isArray(value) ? [[field, value.slice(0, levels)]] : [];
  });
  const { reverse_transformer_layers_per_block: _, ...rest } = json;
  return {
    ...rest,
    ...Object.fromEntries(lists),
    block_out_channels: teacher.down.slice(0, levels).map(({ channels }) => channels),
    down_block_types: plan.down.map((b) => (hasTransformers(b) ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: plan.up.map((b) => (hasTransformers(b) ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    layers_per_block: 1,
    ...depthFields(json, plan),
    ...(plan.mid === null ? { mid_block_type: null } : {}),
  };
}

function depthFields(json: JsonObject, { down, mid, up }: UNetPlan): JsonObject {
  const upward = up.map((block) => entryOf(depthsOf(block)));
  const entries = down.map((block, i): Json => {
    const [depth = 0] = depthsOf(block);
    if (depth > 0) return depth;
    const isCoarsest = i === down.length - 1;
    if (isCoarsest && mid !== null && mid.length > 0) return mid.length; // diffusers reads the middle's depth here
    const beside = upward[down.length - 1 - i];
    return typeof beside === "number" ? beside : 1;
  });
  const mirrors = up.every(
    (block, i) => !hasTransformers(block) || upward[i] === entries[down.length - 1 - i],
  );
  const isDefault = entries.every((entry) => entry === 1) && json.transformer_layers_per_block === undefined;
  return {
    ...(isDefault ? {} : { transformer_layers_per_block: entries }),
    ...(mirrors ? {} : { reverse_transformer_layers_per_block: upward }),
  };
}
