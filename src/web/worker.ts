/** The pipeline in a worker of its own, so that a page stays awake. Start it as a module worker; see `client.ts`. */

import { explore } from "../analyze/explore.ts";
import { KoalaError } from "../core/errors.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import { needsInFourBits } from "../pipeline/needs.ts";
import { Pipeline } from "../pipeline/pipeline.ts";
import { engineBytes, watchMemories } from "./engine-memory.ts";
import { adapterLimits, engines } from "./engines.ts";
import type {
  Calls,
  FromWorker,
  GenerateRequest,
  LoadRequest,
  SentError,
  Surroundings,
  ToWorker,
} from "./messages.ts";
import { theShelf } from "./models.ts";
import { readStart } from "./start-files.ts";
import { structureOf } from "./structure.ts";

declare const self: DedicatedWorkerGlobalScope;

watchMemories();

let pipeline: Pipeline | null = null;
/** By the id of the call that each ends. */
const running = new Map<number, AbortController>();

const tell = (message: FromWorker, transfer: Transferable[] = []): void =>
  self.postMessage(message, transfer);

self.onmessage = ({ data }: MessageEvent<ToWorker>): void => {
  if (data.call === "abort") running.get(data.id)?.abort();
  else void answer(data);
};

async function answer(message: Exclude<ToWorker, { call: "abort" }>): Promise<void> {
  const { id } = message;
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const result = await perform(message, controller.signal);
    tell({ id, type: "result", result });
  } catch (error) {
    tell({ id, type: "error", error: sent(error, controller.signal.aborted) });
  } finally {
    running.delete(id);
  }
}

async function perform(
  message: Exclude<ToWorker, { call: "abort" }>,
  signal: AbortSignal,
): Promise<Calls[keyof Calls]["result"]> {
  switch (message.call) {
    case "load":
      return load(message.id, message.argument, signal);
    case "generate":
      for await (const event of generate(message.argument, signal)) {
        send(message.id, event);
        await turn();
      }
      return null;
    case "explore":
      return explore(loaded("explore"), message.argument, {
        signal,
        async onStep(step, steps) {
          tell({ id: message.id, type: "explored", step, steps });
          await turn();
        },
      });
    case "structure":
      return structureOf(message.argument);
    case "times":
      return loaded("times").stageTimes({
        signal,
        async onStage(step, steps) {
          tell({ id: message.id, type: "explored", step, steps });
          await turn();
        },
      });
    case "surroundings":
      return surroundings();
    case "engineBytes":
      return engineBytes();
    case "needs":
      return needsInFourBits(message.argument.preset, message.argument.pixels);
    case "remove":
      await (await theShelf()).remove(message.argument);
      return null;
  }
}

/** @throws KoalaError E_MODEL where there is none */
function loaded(where: string): Pipeline {
  if (pipeline !== null) return pipeline;
  throw new KoalaError("E_MODEL", { where, expected: "a model", got: "none loaded" });
}

async function* generate(
  { request, start }: GenerateRequest,
  signal: AbortSignal,
): AsyncGenerator<PipelineEvent> {
  const its = loaded("generate");
  if (start === null) return yield* its.generate(request, { signal });
  if (request.paddingMaskCrop !== undefined) {
    // what is drawn is cut out of it, and made of the request's size, where the mask is
    yield* its.generate(request, { signal, ...(await readStart(start, (picture) => picture)) });
    return;
  }
  const pictures = await readStart(start, (picture) => its.sizeLike(picture, request));
  const { width, height } = pictures.image;
  yield* its.generate({ ...request, width, height }, { signal, ...pictures });
}

/** WebAssembly computes without giving way: lets an abort come in. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

async function load(
  id: number,
  { location, engine }: LoadRequest,
  signal: AbortSignal,
): Promise<Calls["load"]["result"]> {
  await pipeline?.dispose(); // never two models in memory
  pipeline = null;
  const opened = await Pipeline.load(location, {
    ...{ engine, signal },
    log: { warn: (text) => tell({ id, type: "warning", message: text }), debug() {} },
    onProgress: (file, bytes, total) => tell({ id, type: "download", download: { file, bytes, total } }),
  });
  pipeline = opened;
  const { family, defaults, engineName, precisions, unit, isInpainting } = opened;
  return { location, family, engine: engineName, defaults, precisions, unit, isInpainting };
}

function send(id: number, event: PipelineEvent): void {
  // a picture is ours to give away; latents stay, since the pipeline may still hold them
  const hasPicture = event.type === "preview" || event.type === "image";
  tell({ id, type: "event", event }, hasPicture ? [event.picture.data.buffer] : []);
}

async function surroundings(): Promise<Surroundings> {
  const shelf = await theShelf();
  const estimate: StorageEstimate | undefined = await navigator.storage?.estimate?.().catch(() => undefined);
  const models = (await shelf.records()).map(({ location, bytes, files, checked }) => ({
    ...{ location, bytes },
    hereBytes: checked.reduce((sum, path) => sum + (files[path]?.size ?? 0), 0),
  }));
  return {
    engines: await engines(),
    adapter: await adapterLimits(),
    isKept: shelf.isKept,
    quota: estimate?.quota ?? null,
    usage: estimate?.usage ?? null,
    models,
  };
}

function sent(error: unknown, isAbort: boolean): SentError {
  if (error instanceof KoalaError) {
    const { message, code, where, expected, got, hint = null } = error;
    return { message, code, where, expected, got, hint, isAbort };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { message, code: null, where: "", expected: "", got: message, hint: null, isAbort };
}
