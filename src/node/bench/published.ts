/**
 * KOALA's figure of latency and memory (arXiv:2312.04005), as its labels read: `static/images/latency_memory_labels_anno_wide.png`
 * of https://github.com/youngwanLEE/KOALA. One picture, float16, no tricks for speed; SDXL-Turbo and the KOALA-Turbo models at
 * 512 px, all others at 1024 px. Those are graphics cards: they stand beside ours, they are no target of it.
 */

export const cards = ["RTX 4090", "RTX 2080 Ti", "RTX 3060 Ti"] as const;

/** Seconds and GB; null where it ran out of memory. */
type Label = readonly [seconds: number, gigabytes: number] | null;

/** In the order of `cards`, by the name of our preset. KOALA-Turbo's weights are not published, so there is no preset of it. */
export const published: Readonly<Record<string, readonly [Label, Label, Label]>> = {
  "koala-lightning-700m": [
    [0.66, 8.3],
    [1.94, 8.2],
    [2.88, 6.8],
  ],
  "koala-lightning-1b": [
    [0.79, 9.1],
    [2.33, 8.9],
    [3.53, 7.2],
  ],
  sdxl: [[3.23, 11.9], [9.65, 10.4], null],
  "sdxl-turbo": [[0.24, 8.5], [0.64, 8.3], null],
  "sdxl-lightning": [[0.72, 11.7], [2.05, 10.8], null],
  "pixart-alpha": [[3.72, 17.3], null, null],
  "pixart-sigma": [[3.98, 17.3], null, null],
  "ssd-1b": [[2.09, 9.4], [6.34, 9.3], null],
  vega: [
    [1.49, 8.2],
    [4.52, 8.1],
    [6.75, 7.2],
  ],
};
