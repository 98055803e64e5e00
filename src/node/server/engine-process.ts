/**
 * A child process that draws, one task at a time. Building graphs blocks a thread for hundreds of milliseconds and a
 * crash inside a native engine takes its process along; both happen here and not in the server. A thread would shield
 * only from the first. Its memory goes back to the system when it ends.
 */

import { KoalaError } from "../../core/errors.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { pictureText } from "../../pipeline/request-text.ts";
import { packageVersion } from "../cli/package.ts";
import { encodePicture } from "../image-file.ts";
import { blurred, judged } from "../nsfw/check.ts";
import { type DrawEvent, errorData, type Task } from "./crew.ts";
import type { FromEngine, ModelPlaces, ToEngine } from "./engine-messages.ts";
import { startOf } from "./start-pictures.ts";

const tell = (message: FromEngine): void => {
  process.send?.(message);
};

let places: ModelPlaces = {};
let threads: number | undefined;
let loaded: { readonly model: string; readonly pipeline: Pipeline } | null = null;
const stops = new Map<string, AbortController>();

/** The model's pipeline; another one makes room first. */
async function pipelineFor(model: string): Promise<Pipeline> {
  if (loaded?.model === model) return loaded.pipeline;
  const old = loaded;
  loaded = null;
  await old?.pipeline.dispose();
  const place = places[model];
  if (place === undefined)
    throw new KoalaError("E_MODEL", {
      where: "model",
      expected: `one of ${Object.keys(places).join(", ")}`,
      got: model,
    });
  const { location, ...options } = place;
  const pipeline = await Pipeline.load(location, {
    ...options,
    ...(threads === undefined ? {} : { threads }),
  });
  loaded = { model, pipeline };
  return pipeline;
}

async function* eventsOf(
  { model, request, start, nsfw = "off" }: Task,
  signal: AbortSignal,
): AsyncGenerator<DrawEvent> {
  yield { type: "stage", stage: "load", detail: model };
  const pipeline = await pipelineFor(model);
  const maker = { model, version: packageVersion() };
  // a job that is cancelled has ended, and takes no more pictures
  for await (const event of pipeline.generate(request, {
    ...{ signal, dropsFinished: true },
    ...(await startOf(start)),
  })) {
    switch (event.type) {
      case "stage":
      case "warning":
        yield event;
        break;
      case "step": {
        const { type, index, step, steps, seconds } = event;
        yield { type, index, step, steps, seconds };
        break;
      }
      case "preview": {
        const { type, index, step, picture } = event;
        // unfinished pictures are not judged: where some pictures must not be seen, none of them is
        const shown = nsfw === "blur" || nsfw === "refuse" ? await blurred(picture) : picture;
        yield { type, index, step, png: await encodePicture(shown, "png") };
        break;
      }
      case "image": {
        const { index, seed } = event;
        const its = nsfw === "off" ? null : await judged(event.picture, nsfw);
        const text = pictureText(event.request, maker);
        const png = await encodePicture(
          its?.picture ?? event.picture,
          "png",
          its === null ? text : { ...text, nsfw: JSON.stringify(its.verdict) },
        );
        const found = its === null ? {} : { nsfw: its.verdict };
        yield { type: "picture", index, seed, png, residentBytes: process.memoryUsage.rss(), ...found };
        break;
      }
    }
  }
}

async function draw(task: Task): Promise<void> {
  const { id } = task;
  const stop = new AbortController();
  stops.set(id, stop);
  try {
    for await (const event of eventsOf(task, stop.signal)) tell({ type: "event", id, event });
    tell({ type: "done", id });
  } catch (thrown) {
    if (!(thrown instanceof KoalaError) && !stop.signal.aborted)
      process.stderr.write(`${(thrown as Error).stack ?? String(thrown)}\n`);
    tell({ type: "error", id, error: errorData(thrown) }); // who stopped it asks for no reason
  } finally {
    stops.delete(id);
  }
}

let turn: Promise<void> = Promise.resolve();

process.on("message", (message: ToEngine) => {
  if (message.type === "setup") {
    places = message.models;
    threads = message.threads;
  } else if (message.type === "stop") stops.get(message.id)?.abort();
  else turn = turn.then(() => draw(message.task));
});
process.on("disconnect", () => process.exit()); // the server is gone, even if it was killed
process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; the server decides
