/**
 * The stages of a U-Net beside those of its teacher: which blocks face each other, what they are made of, and what of them
 * can be compared. They are called DW-1 (finest) to DW-n, Mid, UP-1 (coarsest) to UP-n, by the student's own blocks; the
 * last feature of each is the one after its sampler.
 */

import { check } from "../../core/assert.ts";
import type { Level, UNetConfig } from "../../models/unet-config.ts";
import { matchedBlocks } from "./layers.ts";
import { originOf, type UNetPlan } from "./plan.ts";
import {
  everything,
  type FeatureKind,
  type FeatureSelection,
  type FeatureSet,
  type SiteOptions,
  type Sites,
  suffixes,
} from "./sites.ts";

/** A stage of the student, and the blocks that it is made of on both sides. */
interface Stage {
  readonly name: string;
  /** `down_blocks.1`; its origin in the teacher follows from the plan. */
  readonly path: string;
  readonly depths: readonly number[];
  /** Of the middle, which may be one ResNet without a transformer, or two around one. */
  readonly resnets: number;
  readonly teacher: Level;
  /** The student's stage ends without the teacher's sampler, so its last feature has another size. */
  readonly lacksSampler: boolean;
}

const hasTransformer = ({ depths }: Pick<Stage, "depths">): boolean => depths.some((d) => d > 0);

/**
 * The plan of a student whose cut is not known: layers as the rules keep them, blocks of the same index.
 * Levels that the student lacks are the teacher's coarsest.
 */
function alignment(teacher: UNetConfig, student: UNetConfig): UNetPlan {
  const dropped = teacher.down.length - student.down.length;
  check(dropped >= 0, "E_CONFIG", () => ({
    where: "features",
    expected: `a student of at most the teacher's ${teacher.down.length} levels`,
    got: `one of ${student.down.length}`,
  }));
  const blocks = (depth: number): number[] => Array.from({ length: depth }, (_, l) => l);
  return {
    down: student.down.map(({ depths }, i) => ({
      block: i,
      layers: depths.map((depth, layer) => ({ layer, blocks: blocks(depth) })),
    })),
    mid: student.mid === null ? null : blocks(student.mid.depths[0] ?? 0),
    up: student.up.map(({ depths }, i) => {
      const last = (teacher.up[i + dropped]?.depths.length ?? 0) - 1;
      return {
        block: i + dropped,
        layers: depths.map((depth, layer) => ({
          layer: layer === depths.length - 1 ? last : layer,
          blocks: blocks(depth),
        })),
      };
    }),
  };
}

const NOTHING: Level = { channels: 0, heads: 0, depths: [] };

/** In the order of the network; those that only one of the two has are left out. */
function stagesOf(teacher: UNetConfig, student: UNetConfig, plan: UNetPlan): Stage[] {
  const dropsCoarsest = student.down.length < teacher.down.length;
  const down = student.down.map(({ depths }, i) => ({
    name: `DW-${i + 1}`,
    path: `down_blocks.${i}`,
    depths,
    resnets: depths.length,
    teacher: teacher.down[plan.down[i]?.block ?? i] ?? NOTHING,
    lacksSampler: dropsCoarsest && i === student.down.length - 1,
  }));
  const up = student.up.map(({ depths }, i) => ({
    name: `UP-${i + 1}`,
    path: `up_blocks.${i}`,
    depths,
    resnets: depths.length,
    teacher: teacher.up[plan.up[i]?.block ?? i] ?? NOTHING,
    lacksSampler: false,
  }));
  if (student.mid === null || teacher.mid === null) return [...down, ...up];
  const [own, theirs] = [student.mid.depths.length, teacher.mid.depths.length];
  const mid = {
    name: "Mid",
    path: "mid_block",
    depths: student.mid.depths,
    resnets: 1 + Math.min(own, theirs),
    teacher: teacher.mid,
    lacksSampler: false,
  };
  return [...down, mid, ...up];
}

/** @throws KoalaError E_CONFIG for a student that has more levels, or is said to be cut out of another network */
export function unetSites(teacher: UNetConfig, student: UNetConfig, o: SiteOptions): Sites {
  const plan = o.plan ?? alignment(teacher, student);
  check("down" in plan, "E_CONFIG", () => ({
    where: "student",
    expected: "one that was cut out of a U-Net",
    got: "blocks of a transformer",
  }));
  const stages = stagesOf(teacher, student, plan);
  return {
    stages: stages.map(({ name }) => name),
    select: (set) => selectionOf(set, stages),
    pairs: (name, kind) =>
      stages.filter((stage) => stage.name === name).flatMap((stage) => pairsOf(stage, kind, plan, o)),
  };
}

/** BK-SDM hooks the blocks of both ways, not the middle (`kd_train_text_to_image.py` at e13670c). */
function selectionOf(set: FeatureSet, stages: readonly Stage[]): FeatureSelection {
  const names = (keep: (stage: Stage) => boolean): string[] => stages.filter(keep).map(({ name }) => name);
  switch (set) {
    case "koala":
      return { SA: "all", LF: names((stage) => !hasTransformer(stage)) };
    case "bk-sdm":
      return { LF: names(({ name }) => name !== "Mid") };
    case "all":
      return everything;
  }
}

/** Student's and teacher's taps of that kind in that stage; none where one of them has no such thing. */
function pairsOf(
  stage: Stage,
  kind: FeatureKind,
  plan: UNetPlan,
  o: SiteOptions,
): [student: string, teacher: string][] {
  const { path, depths, resnets, teacher, lacksSampler } = stage;
  const same = (name: string): [string, string] => [name, originOf(plan, name)];
  switch (kind) {
    case "LF": {
      if (!lacksSampler) return [same(path)];
      // The teacher's last layer before its sampler, as near as it has one to what the student's stage gives.
      const part = hasTransformer(stage) ? "attentions" : "resnets";
      const theirs = `${originOf(plan, path)}.${part}.${teacher.depths.length - 1}`;
      return [[`${path}.${part}.${depths.length - 1}`, theirs]];
    }
    case "Res":
      return Array.from({ length: resnets }, (_, j) => same(`${path}.resnets.${j}`));
    default:
      return depths.flatMap((depth, j) =>
        blockPairs(`${path}.attentions.${j}`, depth, suffixes[kind], stage, plan, o),
      );
  }
}

function blockPairs(
  student: string,
  depth: number,
  suffix: string,
  { teacher: { depths } }: Stage,
  plan: UNetPlan,
  o: SiteOptions,
): [string, string][] {
  const teacher = originOf(plan, student);
  const available = depths[Number(/\d+$/.exec(teacher)?.[0])] ?? 0;
  if (available === 0) return [];
  const tap = (place: string, block: number): string => `${place}.transformer_blocks.${block}.${suffix}`;
  if (o.plan !== undefined && o.map === undefined) {
    return Array.from({ length: depth }, (_, l) => [tap(student, l), originOf(plan, tap(student, l))]);
  }
  // A student deeper than its teacher has blocks without a match: their names show up as missing.
  const identity = Array.from({ length: depth }, (_, l) => [l]);
  const matched = depth > available ? identity : matchedBlocks(o.map ?? "first", available, depth);
  return matched.flatMap((theirs, l) =>
    theirs.map((block): [string, string] => [tap(student, l), tap(teacher, block)]),
  );
}
