/** What a pipeline draws, without what it tells on the way. */

import type { Picture } from "../src/image/pixels.ts";
import type { Pipeline } from "../src/pipeline/pipeline.ts";
import type { RequestInput } from "../src/pipeline/request.ts";
import type { Start } from "../src/pipeline/start.ts";

export async function drawn(
  pipeline: Pipeline,
  request: RequestInput,
  start: Start = {},
): Promise<Picture[]> {
  const pictures: Picture[] = [];
  for await (const event of pipeline.generate(request, start))
    if (event.type === "image") pictures.push(event.picture);
  return pictures;
}
