/** What a run tells while it goes on, and how to stop it: node examples/watch.js */

import { fileURLToPath } from "node:url";
import { Pipeline } from "koala-diffusion";

const pipeline = await Pipeline.load(fileURLToPath(new URL("../models/koala-emoji", import.meta.url)));
const request = pipeline.resolve({ prompt: "cat face", preview: true, seed: 7 });
console.log(`${request.steps} steps of ${request.scheduler} at guidance ${request.guidance}`);

const stop = new AbortController();
try {
  for await (const event of pipeline.generate(request, { signal: stop.signal })) {
    if (event.type === "stage") console.log(`${event.stage}: ${event.detail}`);
    if (event.type === "step")
      console.log(`step ${event.step} of ${event.steps}, sigma ${event.sigma.toFixed(2)}`);
    if (event.type === "preview") console.log(`  a rough picture of ${event.picture.width} px`);
    if (event.type === "step" && event.step === 3) stop.abort(new Error("three steps are enough"));
  }
} catch (error) {
  console.log(`stopped: ${error.message}`);
}
await pipeline.dispose();
