/** What a model is made of, read off its graph and the names of its parameters: counts, bytes, arithmetic. */

import type { Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import type { Parameter } from "../nn/index.ts";
import { type DType, dtypes } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";

export type Parameters = ReadonlyMap<string, Parameter>;

/** What a parameter belongs to. Projections and norms around transformer blocks, stem and embeddings are `other`. */
export type Kind = "self-attention" | "cross-attention" | "feed-forward" | "resnet" | "other";

export interface UNetCensus {
  readonly parameters: number;
  /** By stage: DW1 (finest) …, MID where there is one, UP1 (coarsest) …, and `stem` for what lies outside the stages. */
  readonly stages: Readonly<Record<string, number>>;
  readonly kinds: Readonly<Record<Kind, number>>;
  /** Self-attention layers, by stage; stages without are absent. */
  readonly selfAttentions: Readonly<Record<string, number>>;
  /**
   * Transformer blocks in a layer of each level, finest first, as the KOALA paper's Table 1 lists them;
   * the coarsest level without any of its own shows those of the middle.
   */
  readonly transformerBlocks: readonly number[];
  readonly hasMid: boolean;
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);

export const countParameters = (parameters: Parameters): number =>
  sum([...parameters.values()].map(({ value }) => size(value.shape)));

/** Bytes of the weights stored in `dtype`; a file has a header of some 100 kB on top. */
export const checkpointBytes = (parameters: Parameters, dtype: DType): number =>
  countParameters(parameters) * dtypes[dtype].bytes;

/** Floating-point operations of one run that makes `outputs`; a multiplication with its addition counts as two. */
export function flopsOf(outputs: Iterable<Value>): number {
  return sum(
    topological(outputs).map((node) =>
      node.op.flops(
        node.inputs.map((x) => x.type),
        node.type,
        node.attrs,
      ),
    ),
  );
}

const STAGES: readonly [RegExp, string][] = [
  [/^down_blocks\.(\d+)(?:\.|$)/, "DW"],
  [/^up_blocks\.(\d+)(?:\.|$)/, "UP"],
  [/^mid_block()(?:\.|$)/, "MID"],
];

/** `down_blocks.0.…` → DW1: of a parameter's name or a node's label. */
export function stageOf(name: string): string {
  for (const [pattern, stage] of STAGES) {
    const match = pattern.exec(name);
    if (match !== null) return match[1] === "" ? stage : `${stage}${Number(match[1]) + 1}`;
  }
  return "stem";
}

const KINDS: readonly [RegExp, Kind][] = [
  [/\.attn1\./, "self-attention"],
  [/\.attn2\./, "cross-attention"],
  [/\.ff\./, "feed-forward"],
  [/\.resnets\./, "resnet"],
];

const kindOf = (name: string): Kind => KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? "other";

function add<K extends string>(counts: Partial<Record<K, number>>, key: K, n: number): void {
  counts[key] = (counts[key] ?? 0) + n;
}

/** The census of a U-Net from its parameters, whose names say where each belongs. */
export function unetCensus(parameters: Parameters): UNetCensus {
  const stages: Record<string, number> = {};
  const kinds: Record<Kind, number> = {
    "self-attention": 0,
    "cross-attention": 0,
    "feed-forward": 0,
    resnet: 0,
    other: 0,
  };
  const selfAttentions: Record<string, number> = {};
  const blocks: Record<string, number> = {};
  for (const [name, { value }] of parameters) {
    const stage = stageOf(name);
    add(stages, stage, size(value.shape));
    add(kinds, kindOf(name), size(value.shape));
    if (!name.endsWith(".attn1.to_q.weight")) continue;
    add(selfAttentions, stage, 1);
    if (name.includes(".attentions.0.")) add(blocks, stage, 1);
  }
  const levels = Object.keys(stages).filter((stage) => stage.startsWith("DW")).length;
  const transformerBlocks = Array.from({ length: levels }, (_, i) => blocks[`DW${i + 1}`] ?? 0);
  if (transformerBlocks.at(-1) === 0) transformerBlocks[levels - 1] = blocks.MID ?? 0;
  return {
    parameters: sum(Object.values(stages)),
    stages,
    kinds,
    selfAttentions,
    transformerBlocks,
    hasMid: stages.MID !== undefined,
  };
}
