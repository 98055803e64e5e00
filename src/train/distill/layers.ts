/** Which of a teacher's transformer blocks a student keeps, and which it learns from. Indices count from the block nearest the input. */

import { fastGenerator } from "../../tensor/random.ts";

/** How the blocks that survive a cut are chosen. */
export type Keep = "first" | "last" | "interleaved" | "random";
export const keeps: readonly Keep[] = ["first", "last", "interleaved", "random"];

const range = (from: number, end: number): number[] => Array.from({ length: end - from }, (_, i) => from + i);

/** ⌊i·n/k⌋, i < k: from the first block on, as evenly as whole numbers allow. */
const spread = (n: number, k: number): number[] => range(0, k).map((i) => Math.floor((i * n) / k));

/**
 * `k` of `n` blocks, ascending; all of them where k is n or more. A random choice depends on the seed and on `place`, the
 * transformer's name, and on nothing else.
 */
export function keptBlocks(keep: Keep, n: number, k: number, seed: number, place: string): number[] {
  if (k >= n) return range(0, n);
  switch (keep) {
    case "first":
      return range(0, k);
    case "last":
      return range(n - k, n);
    case "interleaved":
      return spread(n, k);
    case "random": {
      const keys = new Float32Array(n);
      fastGenerator(seed, place).uniform(keys, 0, 1);
      const order = range(0, n).sort((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0) || a - b);
      return order.slice(0, k).sort((a, b) => a - b);
    }
  }
}

/** How a student's blocks are matched with a teacher's; `one-to-many` shares all of the teacher's out among them. */
export type LayerMap = "first" | "last" | "interleaved" | "one-to-many";
export const layerMaps: readonly LayerMap[] = ["first", "last", "interleaved", "one-to-many"];

/** For each of the student's `k` blocks the teacher's, of `n` ≥ k, that it learns from. */
export function matchedBlocks(map: LayerMap, n: number, k: number): number[][] {
  if (map !== "one-to-many") return keptBlocks(map, n, k, 0, "").map((block) => [block]);
  const starts = [...spread(n, k), n];
  return range(0, k).map((i) => range(starts[i] ?? 0, starts[i + 1] ?? n));
}
