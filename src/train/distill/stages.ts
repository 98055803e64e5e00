/** The stages of a student beside those of its teacher: which blocks face each other, and what they are made of. */

import { check } from "../../core/assert.ts";
import type { Level, UNetConfig } from "../../models/unet-config.ts";
import type { CutPlan } from "./plan.ts";

/** A stage of the student, and the blocks that it is made of on both sides. */
export interface Stage {
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

export const hasTransformer = ({ depths }: Pick<Stage, "depths">): boolean => depths.some((d) => d > 0);

/**
 * The plan of a student whose cut is not known: layers as the rules keep them, blocks of the same index.
 * Levels that the student lacks are the teacher's coarsest.
 */
export function alignment(teacher: UNetConfig, student: UNetConfig): CutPlan {
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
export function stagesOf(teacher: UNetConfig, student: UNetConfig, plan: CutPlan): Stage[] {
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
