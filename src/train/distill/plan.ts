/**
 * Where each part of a cut student comes from, and from that the teacher's name of anything in the student: a tensor, a
 * module or a tap.
 */

/** A ResNet and the transformer after it. */
export interface LayerOrigin {
  /** The teacher's layer. */
  readonly layer: number;
  /** The teacher's transformer blocks that the student has in their order; [] where there is no transformer. */
  readonly blocks: readonly number[];
}

export interface BlockOrigin {
  /** Index of the teacher's block: `down_blocks.{block}`. */
  readonly block: number;
  readonly layers: readonly LayerOrigin[];
}

/** Of a U-Net: one entry a block of the student. */
export interface UNetPlan {
  readonly down: readonly BlockOrigin[];
  /** The teacher's transformer blocks that the middle keeps; [] is one ResNet alone; null is no middle. */
  readonly mid: readonly number[] | null;
  readonly up: readonly BlockOrigin[];
}

/** Of a transformer, whose blocks are all alike: the teacher's block of each of the student's. */
export interface BlockPlan {
  readonly blocks: readonly number[];
}

export type CutPlan = UNetPlan | BlockPlan;

const STAGE = /^(down|up)_blocks\.(\d+)(.*)$/;
const LAYER = /^\.(resnets|attentions)\.(\d+)(.*)$/;
const BLOCK = /^((?:.*\.)?transformer_blocks)\.(\d+)(.*)$/;

/** The teacher's name of what the student calls `name`. What lies outside the stages keeps its name. */
export function originOf(plan: CutPlan, name: string): string {
  if ("blocks" in plan) return withBlock(name, plan.blocks);
  const stage = STAGE.exec(name);
  if (stage === null) return withBlock(name, plan.mid ?? []);
  const [, way, index, rest = ""] = stage;
  const origin = (way === "down" ? plan.down : plan.up)[Number(index)];
  const head = `${way}_blocks.${origin?.block}`;
  const layer = LAYER.exec(rest);
  if (layer === null) return `${head}${rest}`; // samplers, and the stage itself
  const [, kind, at, tail = ""] = layer;
  const from = origin?.layers[Number(at)];
  return `${head}.${kind}.${from?.layer}${withBlock(tail, from?.blocks ?? [])}`;
}

function withBlock(name: string, blocks: readonly number[]): string {
  const [, head, index, tail] = BLOCK.exec(name) ?? [];
  return head === undefined ? name : `${head}.${blocks[Number(index)]}${tail}`;
}
