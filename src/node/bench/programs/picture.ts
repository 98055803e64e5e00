/**
 * A picture by the pipeline, timed inside: from the start of the process until the first step begins and ends, each further
 * step, the prompt, the decoder. With `stops` it ends once the first step is over.
 */

import { Pipeline } from "../../../pipeline/pipeline.ts";
import { answer, asked, sinceStart } from "./asked.ts";

const o = asked<{
  readonly prompt: string;
  readonly guidance?: number;
  readonly cache?: string;
  readonly stops?: boolean;
  /** Bytes; a picture that is planned to need more is refused. */
  readonly memory?: number;
}>();
const pipeline = await Pipeline.load(o.model, {
  ...{ engine: o.engine, precision: o.precision, threads: o.threads, isOffline: true },
  freeBytes: process.availableMemory(),
  ...(o.memory === undefined ? {} : { memory: o.memory }),
  ...(o.cache === undefined ? {} : { cache: o.cache }),
});
const request = {
  ...{ prompt: o.prompt, seed: 0, width: o.size, height: o.size, steps: o.steps },
  ...(o.guidance === undefined ? {} : { guidance: o.guidance }),
};
const stop = new AbortController();
/** Seconds at which each stage began; the last of those that begin twice. */
const began: Record<string, number> = {};
const steps: number[] = [];
let calls = 0;
let first = 0;
let firstStep = 0;
let picture = 0;
try {
  for await (const event of pipeline.generate(request, { signal: stop.signal })) {
    if (event.type === "stage") began[event.stage] = sinceStart();
    if (event.type === "image") picture = sinceStart();
    if (event.type !== "step") continue;
    calls = event.steps;
    if (event.step === 1) [first, firstStep] = [sinceStart(), event.seconds];
    else steps.push(event.seconds);
    if (o.stops === true) stop.abort();
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
}
const { text = 0, load = 0, denoise = 0, decode = 0 } = began;
answer({
  ...{ ready: denoise, first, firstStep, steps, calls, engine: pipeline.engineName },
  text: load - text,
  load: denoise - load,
  ...(picture === 0 ? {} : { decode: picture - decode, picture }),
});
await pipeline.dispose();
