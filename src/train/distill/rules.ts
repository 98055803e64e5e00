/**
 * The rules by which a student is cut out of its teacher. Those for U-Nets keep the first layer (ResNet and transformer) of each stage
 * on the way down, and the first and the last on the way up, whose skips fit no others.
 */

import { check } from "../../core/assert.ts";
import { nearest } from "../../core/nearest.ts";

export interface CutRule {
  /** Where the rule is published. */
  readonly source: string;
  /** Most transformer blocks of a layer; null keeps as many as the teacher has. */
  readonly depth: number | null;
  /** Whether the middle block stays. */
  readonly hasMid: boolean;
  /** Whether the coarsest level goes, on both ways. */
  readonly dropsCoarsest: boolean;
  /** Whether it is meant for teachers in SDXL's layout, which are told sizes and a pooled text. */
  readonly needsXL: boolean;
}

export type CutRuleName = "koala-1b" | "koala-700m" | "bk-sdm-base" | "bk-sdm-small" | "bk-sdm-tiny";

const koala = { source: "https://arxiv.org/abs/2312.04005", dropsCoarsest: false, needsXL: true };
/** Kim et al. 2023, section 3, and `src/unet_config*` of Nota-NetsPresso/BK-SDM at e13670c. */
const bk = { source: "https://arxiv.org/abs/2305.15798", depth: null, needsXL: false };

export const cutRules: Readonly<Record<CutRuleName, CutRule>> = {
  // SDXL's 10 blocks become 6 and 5 (model card of etri-vilab/koala-700m at 9dccd3b, row "Tx blocks").
  "koala-1b": { ...koala, depth: 6, hasMid: true },
  "koala-700m": { ...koala, depth: 5, hasMid: false },
  "bk-sdm-base": { ...bk, hasMid: true, dropsCoarsest: false },
  "bk-sdm-small": { ...bk, hasMid: false, dropsCoarsest: false },
  "bk-sdm-tiny": { ...bk, hasMid: false, dropsCoarsest: true },
};

export const cutRuleNames: readonly CutRuleName[] = Object.keys(cutRules) as CutRuleName[];

/** The rule for transformers, whose blocks are all alike: how many stay. KOALA (arXiv:2312.04005), its table of PixArt-Σ. */
const BLOCK_RULE = /^pixart-(\d{1,4})$/;
export const blockRuleForm = "pixart-N";
export const blockRuleSource = "https://arxiv.org/abs/2312.04005";

/** What `--student` may name, for messages and help. */
export const ruleForms: readonly string[] = [...cutRuleNames, blockRuleForm];

const isUNetRule = (name: string): name is CutRuleName => (cutRuleNames as readonly string[]).includes(name);

/** @throws KoalaError E_MODEL with the nearest names when there is no such rule for any teacher */
export function checkRule(name: string): void {
  const [near] = nearest(name, ruleForms);
  check(isUNetRule(name) || BLOCK_RULE.test(name), "E_MODEL", () => ({
    where: "student",
    expected: `one of ${ruleForms.join(", ")}`,
    got: name,
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  }));
}

/** @throws KoalaError E_MODEL when there is no such rule, or it is not one for U-Nets */
export function unetRuleName(name: string): CutRuleName {
  checkRule(name);
  check(isUNetRule(name), "E_MODEL", () => ({
    where: name,
    expected: "a teacher with a transformer",
    got: "a teacher with a U-Net",
    hint: `From a U-Net cut ${cutRuleNames.join(", ")}.`,
  }));
  return name;
}

/** How many blocks stay. @throws KoalaError E_MODEL when there is no such rule, or it is not one for transformers */
export function blockRuleCount(name: string): number {
  checkRule(name);
  const [, count] = BLOCK_RULE.exec(name) ?? [];
  check(count !== undefined, "E_MODEL", () => ({
    where: name,
    expected: "a teacher with a U-Net",
    got: "a teacher with a transformer",
    hint: `From a transformer cut ${blockRuleForm}, N being how many of its blocks stay.`,
  }));
  return Number(count);
}
