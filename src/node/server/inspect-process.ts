/** A child process that looks inside a model once: see `inspector.ts`. */

import { explore } from "../../analyze/explore.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { errorData } from "./crew.ts";
import { asAllowed, type FromInspector, type ToInspector } from "./inspector.ts";

async function answer({ place, threads, nsfw, request }: ToInspector): Promise<FromInspector> {
  try {
    const { location, ...options } = place;
    const pipeline = await Pipeline.load(location, {
      ...options,
      ...(threads === undefined ? {} : { threads }),
    });
    if (request === undefined) return { result: await pipeline.stageTimes() };
    return { result: await asAllowed(await explore(pipeline, request), nsfw) };
  } catch (thrown) {
    return { error: errorData(thrown) };
  }
}

process.once("message", (message: ToInspector) => {
  void answer(message).then((reply) => process.send?.(reply));
});
process.on("disconnect", () => process.exit()); // the server is gone, even if it was killed
process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; the server decides
