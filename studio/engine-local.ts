/** Draws in a worker of this browser, with models in its storage. */

import { KoalaError, type RequestInput } from "koala-diffusion";
import {
  encodePicture,
  type LoadCalls,
  type LoadedModel,
  readPicture,
  type StartFiles,
  WorkerPipeline,
} from "koala-diffusion/web";
import type { DrawEvent, Engine, Model, Progress } from "./engines.ts";
import { localHistory } from "./history-local.ts";
import { titleOf } from "./names.ts";

declare const __VERSION__: string;

/** Models that the site has, in `site.json` beside the page. */
interface SiteList {
  readonly models: readonly { readonly name: string; readonly title: string }[];
}

/** Of a request that names none. */
const usualPrecision: NonNullable<RequestInput["precision"]> = "f32";

/**
 * Whether a worker is not to be asked again: ONNX Runtime remembers there that its WebAssembly did not come, and memory that ran out
 * stays taken.
 */
const isOfWorker = (error: unknown): boolean =>
  !(error instanceof KoalaError) || error.code === "E_INTERNAL" || error.code === "E_ENGINE";

/** How a load is watched and ended. */
type Telling = { readonly signal: AbortSignal } & Progress;
type Drawing = Telling & { readonly start: StartFiles | null };

export function localEngine(): Engine {
  const start = (): WorkerPipeline =>
    new WorkerPipeline(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
  let pipeline = start();
  const history = localHistory();
  let loaded: LoadedModel | null = null;
  let titles = new Map<string, string>();

  /** Ends the worker; the next call has another one. */
  function letGo(): void {
    pipeline.dispose();
    loaded = null;
  }

  function worker(): WorkerPipeline {
    if (pipeline.failure !== null) {
      letGo(); // one whose script threw lives on
      pipeline = start();
    }
    return pipeline;
  }

  /** Passes on why a load or a picture failed, so that the next one is tried in a worker that can do it. */
  const blame = (error: unknown, { signal }: { readonly signal: AbortSignal }): never => {
    if (!signal.aborted && isOfWorker(error)) letGo();
    throw error;
  };

  /** The worker asks for files from its own address: a folder of the site is named from the page's. */
  const locationOf = (name: string): string =>
    name.startsWith("./") ? new URL(name, document.baseURI).pathname : name;

  /** What the worker holds, if it is this model. */
  const held = (name: string): LoadedModel | null =>
    pipeline.failure === null && loaded?.location === locationOf(name) ? loaded : null;

  function modelOf(name: string): Model {
    const its = held(name);
    return {
      ...{ name, title: titles.get(name) ?? titleOf(name), location: locationOf(name) },
      ...{ family: its?.family ?? null, engine: its?.engine ?? null, defaults: its?.defaults ?? null },
      ...{ precisions: its?.precisions ?? null, unit: its?.unit ?? null },
      isInpainting: its?.isInpainting ?? null,
    };
  }

  /** Of the programs that the worker holds. */
  let precision = usualPrecision;

  /** The model in a worker that has held no other and no other precision. */
  async function ensure(name: string, o: Telling, wanted = usualPrecision): Promise<LoadedModel> {
    const its = precision === wanted ? held(name) : null;
    const found = its ?? (await load(name, o));
    precision = wanted;
    return found;
  }

  async function load(name: string, o: Telling): Promise<LoadedModel> {
    const files = new Map<string, readonly [number, number]>();
    if (loaded !== null) letGo(); // WebAssembly gives memory back only with its worker
    precision = usualPrecision;
    const location = locationOf(name);
    const calls: LoadCalls = {
      signal: o.signal,
      onDownload({ file, bytes, total }) {
        files.set(file, [bytes, total]);
        const sum = (i: 0 | 1): number => [...files.values()].reduce((n, pair) => n + pair[i], 0);
        o.onBytes(sum(0), sum(1));
      },
      onWarning: o.onWarning,
    };
    loaded = await worker()
      .load(location, "auto", calls)
      .catch((error) => blame(error, o));
    o.onReady();
    return loaded;
  }

  async function* draw(name: string, request: RequestInput, o: Drawing): AsyncGenerator<DrawEvent> {
    yield { type: "stage", stage: "load", detail: name };
    await ensure(name, o, request.precision);
    try {
      yield* drawn(name, request, o);
    } catch (error) {
      blame(error, o);
    }
  }

  async function* drawn(
    name: string,
    request: RequestInput,
    { signal, start }: Drawing,
  ): AsyncGenerator<DrawEvent> {
    let began = performance.now();
    for await (const event of pipeline.generate(request, { signal, start })) {
      switch (event.type) {
        case "image": {
          const seconds = (performance.now() - began) / 1000;
          began = performance.now();
          const { request: own } = event;
          const maker = { model: titleOf(name), version: __VERSION__ };
          const png = new Blob([await encodePicture(event.picture, own, maker)], { type: "image/png" });
          const bytes = await pipeline.engineBytes();
          const drawing = { model: name, request: own, png, seconds, bytes, created: Date.now() };
          const kept = start === null ? drawing : { ...drawing, start };
          yield { type: "picture", drawing: await history.add(kept) };
          break;
        }
        case "preview":
          yield { type: "preview", index: event.index, step: event.step, shown: { picture: event.picture } };
          break;
        default:
          yield event;
      }
    }
  }

  return {
    kind: "browser",
    async models() {
      const answer = await fetch("site.json").catch(() => null);
      const list = answer?.ok === true ? ((await answer.json()) as SiteList) : { models: [] };
      titles = new Map(list.models.map(({ name, title }) => [name, title]));
      const { models: kept } = await worker().surroundings();
      const others = kept
        .map(({ location }) => location)
        .filter((location) => !list.models.some(({ name }) => locationOf(name) === location));
      return [...list.models.map(({ name }) => name), ...others].map(modelOf);
    },
    async open(name, o) {
      if (held(name) === null) await load(name, o);
      return modelOf(name);
    },
    draw,
    history,
    readPicture: async (file) => readPicture(new Uint8Array(await file.arrayBuffer()), file.name),
    structure: (of) => worker().structure("model" in of ? { model: locationOf(of.model) } : of),
    async times(name, o) {
      await ensure(name, o);
      return pipeline.times(o).catch((error) => blame(error, o));
    },
    async explore(name, request, o) {
      await ensure(name, o, request.precision);
      return pipeline.explore(request, o).catch((error) => blame(error, o));
    },
    storage: {
      surroundings: () => worker().surroundings(),
      needs: () => worker().needs("koala-lightning-700m", 1024),
      async remove(name) {
        await worker().remove(locationOf(name));
        if (held(name) !== null) letGo();
      },
    },
    runs: null,
    unfinished: async () => null,
  };
}
