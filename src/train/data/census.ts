/**
 * A data set in numbers: how many pictures, how large (the paper's AR, average resolution), how long their captions
 * (ACL, average caption length), what was left out, how they fill the buckets. Source of AR and ACL: Lee et al. 2024
 * (KOALA), arXiv:2312.04005, the table of training data.
 */

import { bucketName, type Size } from "./buckets.ts";
import { type SkipKind, type SkipLog, type Skipped, skipKinds } from "./sample.ts";

/** What the census counts of one sample. */
export interface CensusEntry {
  readonly original: Size;
  readonly target: Size;
  readonly captions: readonly string[];
  readonly group: string | null;
}

export interface CensusResult {
  readonly pictures: number;
  /** Means, in pixels. */
  readonly meanWidth: number;
  readonly meanHeight: number;
  /** AR: the side, in pixels, of a square with the mean area. */
  readonly averageResolution: number;
  readonly captions: number;
  /** ACL in words between blanks. */
  readonly meanWords: number;
  /** ACL in tokens, the two that open and close a text left out; null where no tokenizer was given. */
  readonly meanTokens: number | null;
  readonly groups: number;
  readonly skipped: Readonly<Record<SkipKind, number>>;
  /** The first of those that were left out. */
  readonly named: readonly Skipped[];
  /** Fullest first. */
  readonly buckets: readonly { readonly bucket: string; readonly pictures: number }[];
}

/** Adds samples up, one at a time. */
export class Census {
  private readonly countTokens: ((caption: string) => number) | null;
  private pictures = 0;
  private width = 0;
  private height = 0;
  private area = 0;
  private captions = 0;
  private words = 0;
  private tokens = 0;
  private readonly groups = new Set<string>();
  private readonly buckets = new Map<string, number>();

  /** `countTokens` gives the tokens of a caption as the model's tokenizer sees it. */
  constructor(countTokens: ((caption: string) => number) | null = null) {
    this.countTokens = countTokens;
  }

  add({ original, target, captions, group }: CensusEntry): void {
    this.pictures++;
    this.width += original.width;
    this.height += original.height;
    this.area += original.width * original.height;
    for (const caption of captions) {
      this.captions++;
      this.words += caption.split(/\s+/).filter((word) => word !== "").length;
      if (this.countTokens !== null) this.tokens += this.countTokens(caption);
    }
    if (group !== null) this.groups.add(group);
    const bucket = bucketName(target);
    this.buckets.set(bucket, (this.buckets.get(bucket) ?? 0) + 1);
  }

  result(log: SkipLog): CensusResult {
    const mean = (sum: number, n: number): number => (n === 0 ? 0 : sum / n);
    return {
      pictures: this.pictures,
      meanWidth: mean(this.width, this.pictures),
      meanHeight: mean(this.height, this.pictures),
      averageResolution: Math.sqrt(mean(this.area, this.pictures)),
      captions: this.captions,
      meanWords: mean(this.words, this.captions),
      meanTokens: this.countTokens === null ? null : mean(this.tokens, this.captions),
      groups: this.groups.size,
      skipped: Object.fromEntries(skipKinds.map((kind) => [kind, log.of(kind)])) as Record<SkipKind, number>,
      named: log.named,
      buckets: [...this.buckets]
        .map(([bucket, pictures]) => ({ bucket, pictures }))
        .sort((a, b) => b.pictures - a.pictures || (a.bucket < b.bucket ? -1 : 1)),
    };
  }
}

/** Rows of two columns for a table: what, and how much. */
export function censusRows(c: CensusResult): [string, string][] {
  const round = (x: number): string => x.toFixed(1);
  const left = skipKinds.filter((kind) => c.skipped[kind] > 0);
  return [
    ["pictures", `${c.pictures}`],
    ["average resolution (AR)", `${Math.round(c.averageResolution)} px`],
    ["mean size", `${Math.round(c.meanWidth)} x ${Math.round(c.meanHeight)} px`],
    ["captions", `${c.captions}`],
    [
      "average caption length (ACL)",
      `${round(c.meanWords)} words${c.meanTokens === null ? "" : `, ${round(c.meanTokens)} tokens`}`,
    ],
    ...(c.groups === 0 ? [] : [["groups", `${c.groups}`] as [string, string]]),
    ["left out", left.length === 0 ? "none" : left.map((kind) => `${c.skipped[kind]} ${kind}`).join(", ")],
    ...c.buckets.map(({ bucket, pictures }): [string, string] => [`bucket ${bucket}`, `${pictures}`]),
  ];
}
