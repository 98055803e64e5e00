/** A picture with its captions as a data set gives it, before anything is done to it, and what is left out on the way. */

import { check } from "../../core/assert.ts";

export interface RawSample {
  /** Stable name within the source: a path, `shard.tar/key`, `part.parquet#row`. */
  readonly id: string;
  /** SHA-256 of the picture's bytes, the first 32 hexadecimal digits: what the cache goes by. */
  readonly hash: string;
  /** The picture as a file's bytes: PNG, JPEG or WebP. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** One or more; empty only where the source was told that captions are optional. */
  readonly captions: readonly string[];
  /** What balanced drawing balances by; null where the data set names no group. */
  readonly group: string | null;
  /** How often to draw it, in relation to others. */
  readonly weight: number;
}

/** Why a picture is left out. */
export const skipKinds = ["missing file", "no caption", "broken", "too small"] as const;
export type SkipKind = (typeof skipKinds)[number];

export interface Skipped {
  readonly kind: SkipKind;
  readonly id: string;
  /** What was found, for the log. */
  readonly reason: string;
}

/** A data set, wherever it lies. */
export interface DataSource {
  /** For messages. */
  readonly name: string;
  /** Tells this source and its options from others: part of the key of what is kept about it. */
  readonly key: string;
  /** Pictures in it, those to be left out counted in; null where only reading it all would tell. */
  readonly count: number | null;
  /**
   * All samples, in an order that does not change; `skip` hears of each picture that is left out.
   * @throws KoalaError E_FILE when a file cannot be read or is damaged, E_CONFIG when it lacks the fields asked for
   */
  samples(skip: (skipped: Skipped) => void): AsyncIterable<RawSample>;
}

/** Names kept for the log: enough to see what is wrong, few enough to read. */
const namedByDefault = 20;

/** Counts what is left out, and keeps the first names. */
export class SkipLog {
  private readonly most: number;
  private readonly counts = new Map<SkipKind, number>();
  private readonly first: Skipped[] = [];

  constructor(most: number = namedByDefault) {
    this.most = most;
  }

  readonly add = (skipped: Skipped): void => {
    this.counts.set(skipped.kind, this.of(skipped.kind) + 1);
    if (this.first.length < this.most) this.first.push(skipped);
  };

  of(kind: SkipKind): number {
    return this.counts.get(kind) ?? 0;
  }

  get total(): number {
    return [...this.counts.values()].reduce((a, b) => a + b, 0);
  }

  get named(): readonly Skipped[] {
    return this.first;
  }

  /** One line a name for the log, and one that counts those without. */
  lines(): string[] {
    const lines = this.first.map(({ id, kind, reason }) => `left out ${id} (${kind}): ${reason}`);
    const rest = this.total - this.first.length;
    return rest === 0 ? lines : [...lines, `and ${rest} more pictures`];
  }
}

/**
 * Holds that a data set of which `used` pictures were found good has something to learn from.
 * @throws KoalaError E_FILE when it is empty, has no captions, or nothing of it can be used
 */
export function checkUsable(name: string, used: number, log: SkipLog): void {
  check(used > 0 || log.total > 0, "E_FILE", () => ({
    where: name,
    expected: "pictures to learn from",
    got: "none",
    hint: "A data set is a folder of png, jpg or webp files, parquet files, or tar files of pictures with their captions.",
  }));
  check(used > 0 || log.of("no caption") < log.total, "E_FILE", () => ({
    where: name,
    expected: "captions with the pictures",
    got: `${log.total} pictures without one, such as ${log.named[0]?.id}`,
    hint: "Put a text beside each picture (a.png, a.txt), list them in metadata.jsonl (file_name, text), or name the caption's column.",
  }));
  check(used > 0, "E_FILE", () => ({
    where: name,
    expected: "at least one picture that can be used",
    got: skipKinds
      .filter((kind) => log.of(kind) > 0)
      .map((kind) => `${log.of(kind)} ${kind}`)
      .join(", "),
    hint: log.lines()[0] ?? "",
  }));
}
