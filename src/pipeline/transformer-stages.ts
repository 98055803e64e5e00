/**
 * Stages of a diffusion transformer, whose blocks are all alike: nothing divides them as samplers divide a U-Net, so they are thirds
 * of its depth, TX-1 (nearest the input) to TX-3; a network of fewer blocks has as many stages as blocks.
 */

const MOST_STAGES = 3;

/** Their names; of several networks side by side, those that each of them has. */
export const transformerStages = (...depths: readonly number[]): string[] =>
  Array.from({ length: Math.min(MOST_STAGES, ...depths) }, (_, i) => `TX-${i + 1}`);

/** Which of `stages` block `block` of `depth` is in, from 0. */
export const stageOfBlock = (block: number, depth: number, stages: number): number =>
  Math.floor((stages * block) / depth);
