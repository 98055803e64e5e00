/** Which of a text's tokens a denoiser's cross-attention sees. */

import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Site } from "./sites.ts";

/**
 * How many of the first tokens are attended to; undefined: all. CLIP's padding is seen like text, while a diffusion transformer
 * masks T5's: what is left are the tokens of the prompt, and the one that ends it.
 */
export function keysSeen(
  pipeline: Pick<Pipeline, "positionsOf">,
  prompt: string,
  sites: readonly Site[],
): number | undefined {
  if (!sites.some(({ transformer }) => transformer === "transformer")) return undefined;
  // in lower case, as T5 reads it, the whole prompt is found in itself
  return pipeline.positionsOf(prompt, prompt.toLowerCase()).length + 1;
}
