/** A sheet of pictures that shows what a run's model can do: fixed prompts and seeds, drawn by the pipeline itself. */

import { grid } from "../../image/grid.ts";
import type { Picture } from "../../image/pixels.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import type { PromptedRun } from "../../train/config.ts";
import type { PreparedSample } from "../../train/data/loader.ts";
import { writeAtomically } from "../files.ts";
import { encodePicture } from "../image-file.ts";

/** The run's prompts, or `sampleCount` first captions spread evenly over the data. */
export function samplePrompts(run: PromptedRun, samples: readonly PreparedSample[]): string[] {
  if (run.prompts !== undefined)
    return Array.from({ length: run.sampleCount }, (_, i) => run.prompts?.[i % run.prompts.length] ?? "");
  const described = samples.flatMap(({ captions }) => captions.slice(0, 1));
  const count = Math.min(run.sampleCount, described.length);
  return Array.from({ length: count }, (_, i) => described[Math.floor((i * described.length) / count)] ?? "");
}

/** As near to a square as whole rows allow, none taller than wide: 8 are 4 by 2; what has no such shape leaves gaps. */
export function columnsOf(count: number): number {
  const least = Math.ceil(Math.sqrt(count));
  for (let columns = least; columns <= 2 * least; columns++) if (count % columns === 0) return columns;
  return least;
}

/**
 * Draws every prompt with the model in `folder`, picture i from the run's seed + i, and writes the sheet.
 * @throws KoalaError as the pipeline does; E_OUTPUT, E_DISK
 */
export async function drawSamples(
  folder: string,
  sheet: string,
  run: PromptedRun,
  prompts: readonly string[],
  onPicture: (done: number) => void,
): Promise<void> {
  const { engine, threads, resolution, sampleSteps: steps, sampleGuidance: guidance, seed } = run;
  const pipeline = await Pipeline.load(folder, { engine, ...(threads === undefined ? {} : { threads }) });
  const pictures: Picture[] = [];
  try {
    for (const [i, prompt] of prompts.entries()) {
      const request = { prompt, steps, guidance, seed: seed + i, width: resolution, height: resolution };
      for await (const event of pipeline.generate(request))
        if (event.type === "image") pictures.push(event.picture);
      onPicture(pictures.length);
    }
  } finally {
    await pipeline.dispose();
  }
  await writeAtomically(
    sheet,
    await encodePicture(grid(pictures, columnsOf(pictures.length)), "png", {
      prompts: JSON.stringify(prompts),
    }),
  );
}
