/** Draws in a worker of this browser, with models in its storage. */

import { type RequestInput, resolveRequest } from "koala-diffusion";
import { encodePicture, type LoadedModel, readPicture, WorkerPipeline } from "koala-diffusion/web";
import type { DrawEvent, Engine, Model } from "./engines.ts";
import { localHistory } from "./history-local.ts";

declare const __VERSION__: string;

/** Models that the site has, in `site.json` beside the page. */
interface SiteList {
  readonly models: readonly { readonly name: string; readonly title: string }[];
}

/** Of a request that names none. */
const usualPrecision: NonNullable<RequestInput["precision"]> = "f32";

const titleOf = (name: string): string => name.split("/").filter(Boolean).at(-1) ?? name;

export function localEngine(): Engine {
  const start = (): WorkerPipeline =>
    new WorkerPipeline(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
  let pipeline = start();
  const history = localHistory();
  let loaded: LoadedModel | null = null;
  let locations = new Map<string, string>();

  /** The worker asks for files from its own address: a folder of the site is named from the page's. */
  const locationOf = (name: string): string =>
    name.startsWith("./") ? new URL(name, document.baseURI).pathname : name;

  const modelOf = (name: string, its: LoadedModel | null): Model => ({
    ...{ name, title: locations.get(name) ?? titleOf(name) },
    ...{ family: its?.family ?? null, engine: its?.engine ?? null, defaults: its?.defaults ?? null },
    precisions: its?.precisions ?? null,
  });

  /** Of the programs that the worker holds. */
  let precision = usualPrecision;

  /** The model in a worker that has held no other and no other precision. */
  async function ensure(name: string, signal: AbortSignal, wanted = usualPrecision): Promise<void> {
    const silent = { signal, onBytes() {}, onWarning() {} };
    if (loaded?.location !== locationOf(name) || precision !== wanted) await load(name, silent);
    precision = wanted;
  }

  const open: Engine["open"] = async (name, o) =>
    loaded?.location === locationOf(name) ? modelOf(name, loaded) : load(name, o);

  const letGo = (): void => {
    if (loaded !== null) {
      pipeline.dispose(); // WebAssembly gives memory back only with its worker
      pipeline = start();
    }
    loaded = null;
  };

  const load: Engine["open"] = async (name, o) => {
    const files = new Map<string, readonly [number, number]>();
    letGo();
    precision = usualPrecision;
    const location = locationOf(name);
    const its = await pipeline.load(location, "auto", {
      signal: o.signal,
      onDownload({ file, bytes, total }) {
        files.set(file, [bytes, total]);
        const sum = (i: 0 | 1): number => [...files.values()].reduce((n, pair) => n + pair[i], 0);
        o.onBytes(sum(0), sum(1));
      },
      onWarning: o.onWarning,
    });
    loaded = { ...its, location };
    return modelOf(name, its);
  };

  async function* draw(name: string, input: RequestInput, signal: AbortSignal): AsyncGenerator<DrawEvent> {
    yield { type: "stage", stage: "load", detail: name };
    await ensure(name, signal, input.precision);
    const request = resolveRequest(input, (loaded as LoadedModel).defaults);
    let began = performance.now();
    for await (const event of pipeline.generate(request, { signal })) {
      switch (event.type) {
        case "image": {
          const seconds = (performance.now() - began) / 1000;
          began = performance.now();
          const own = { ...request, seed: event.seed, count: 1 };
          const maker = { model: titleOf(name), version: __VERSION__ };
          const png = new Blob([await encodePicture(event.picture, own, maker)], { type: "image/png" });
          const bytes = await pipeline.engineBytes();
          const drawing = { model: name, request: own, png, seconds, bytes, created: Date.now() };
          yield { type: "picture", drawing: await history.add(drawing) };
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
      locations = new Map(list.models.map(({ name, title }) => [name, title]));
      const { models: kept } = await pipeline.surroundings();
      const others = kept
        .map(({ location }) => location)
        .filter((location) => !list.models.some(({ name }) => locationOf(name) === location));
      return [...list.models.map(({ name }) => name), ...others].map((name) =>
        modelOf(name, loaded?.location === locationOf(name) ? loaded : null),
      );
    },
    open,
    draw: (name, request, { signal }) => draw(name, request, signal),
    history,
    readPicture: async (file) => readPicture(new Uint8Array(await file.arrayBuffer()), file.name),
    structure: (of) => pipeline.structure("model" in of ? { model: locationOf(of.model) } : of),
    async times(name, o) {
      await ensure(name, o.signal);
      return pipeline.times(o);
    },
    async explore(name, request, o) {
      await ensure(name, o.signal, request.precision);
      return pipeline.explore(request, o);
    },
    storage: {
      surroundings: () => pipeline.surroundings(),
      needs: () => pipeline.needs("koala-lightning-700m", 1024),
      async remove(name) {
        await pipeline.remove(locationOf(name));
        if (loaded?.location === locationOf(name)) letGo();
      },
    },
    runs: null,
    unfinished: async () => null,
  };
}
