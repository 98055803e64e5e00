/** The studio's engine in a browser, over workers that are stand-ins: when it starts another one, and what models are called. */

import { beforeEach, expect, it, vi } from "vitest";
import { KoalaError } from "../src/core/errors.ts";
import type { FromWorker, SentError, ToWorker } from "../src/web/messages.ts";
import { localEngine } from "../studio/engine-local.ts";
import type { Engine } from "../studio/engines.ts";

type Answer = FromWorker extends infer Each ? (Each extends unknown ? Omit<Each, "id"> : never) : never;

/** What a worker says to a call, by the call's name. Nothing: it is still at it. */
let answers: Map<string, (message: ToWorker) => readonly Answer[]>;
let load: (message: ToWorker) => readonly Answer[];
let workers: FakeWorker[];
/** Of what was loaded, each with its worker's number. */
let loads: string[];

class FakeWorker {
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  onerror: ((event: object) => void) | null = null;
  isEnded = false;
  readonly heard: string[] = [];
  constructor() {
    workers.push(this);
  }
  postMessage(message: ToWorker): void {
    this.heard.push(message.call);
    const own = workers.indexOf(this);
    if (message.call === "load") loads.push(`${own}: ${message.argument.location}`);
    const all = this.isEnded ? [] : (answers.get(message.call)?.(message) ?? []);
    for (const answer of all) queueMicrotask(() => this.onmessage?.({ data: { ...answer, id: message.id } }));
  }
  terminate(): void {
    this.isEnded = true;
  }
}

const result = (value: unknown) => (): readonly Answer[] => [{ type: "result", result: value }];
const failure = (code: SentError["code"]) => (): readonly Answer[] => [
  {
    type: "error",
    error: {
      ...{ code, message: "it broke", where: "it", expected: "1", got: "0", hint: null, isAbort: false },
    },
  },
];

/** What was told of models on their way. */
let told: string[];
const telling = (signal = new AbortController().signal) => ({
  ...{ signal, start: null },
  onBytes: (bytes: number, total: number) => void told.push(`${bytes} of ${total}`),
  onReady: () => void told.push("ready"),
  onWarning: (text: string) => void told.push(text),
  onStep() {},
});

const draw = async (engine: Engine, name = "./models/a"): Promise<string[]> => {
  const types: string[] = [];
  for await (const { type } of engine.draw(name, { prompt: "" }, telling())) types.push(type);
  return types;
};

beforeEach(() => {
  workers = [];
  loads = [];
  told = [];
  const defaults = { width: 64, height: 64, steps: 2, guidance: 1, scheduler: "euler" };
  const loaded = { family: "sdxl", engine: "wasm", precisions: ["f32"], defaults };
  load = (message) =>
    result({ ...loaded, location: message.call === "load" ? message.argument.location : "" })();
  answers = new Map([
    ["load", load],
    ["generate", result(null)],
    ["surroundings", result({ models: [] })],
    ["remove", result(null)],
  ]);
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("document", { baseURI: "https://me.example/koala/" });
  vi.stubGlobal("fetch", async () =>
    Response.json({
      models: [
        { name: "./models/sdxl", title: "sdxl" },
        { name: "./models/my-sdxl", title: "my-sdxl" },
        { name: "./models/%E7%8C%AB%20%231%3F%25", title: "猫 #1?%" },
      ],
    }),
  );
});

it("tries again in another worker where one did not start", async () => {
  const engine = localEngine();
  answers.clear();
  const first = engine.models();
  await expect.poll(() => workers[0]?.heard).toEqual(["surroundings"]);
  workers[0]?.onerror?.({});
  await expect(first).rejects.toThrow(
    "worker: expected an answer, got a script that did not load [E_INTERNAL]",
  );
  answers.set("surroundings", result({ models: [] }));
  expect(await engine.models()).toHaveLength(3);
  expect(workers.map(({ isEnded }) => isEnded)).toEqual([true, false]);
});

it.each([
  "E_ENGINE",
  "E_INTERNAL",
  null,
] as const)("draws in another worker after one that broke with %s", async (code) => {
  const engine = localEngine();
  await engine.open("./models/a", telling());
  answers.set("generate", failure(code));
  await expect(draw(engine)).rejects.toThrow();
  answers.set("generate", result(null));
  expect(await draw(engine)).toEqual(["stage"]);
  expect(loads).toEqual(["0: /koala/models/a", "1: /koala/models/a"]);

  answers.set("load", failure(code));
  await expect(engine.open("./models/b", telling())).rejects.toThrow();
  await expect(engine.open("./models/b", telling())).rejects.toThrow();
  expect(loads.slice(2)).toEqual(["2: /koala/models/b", "3: /koala/models/b"]);
});

it("keeps a worker that only refused, or was cancelled", async () => {
  const engine = localEngine();
  await engine.open("./models/a", telling());
  answers.set("generate", failure("E_REQUEST"));
  await expect(draw(engine)).rejects.toThrow(KoalaError);
  const stop = new AbortController();
  answers.set("generate", () => {
    stop.abort();
    return failure(null)();
  });
  const events = engine.draw("./models/a", { prompt: "" }, telling(stop.signal));
  await events.next();
  await expect(events.next()).rejects.toThrow("This operation was aborted");
  expect(workers).toHaveLength(1);
});

it("tells what is fetched and warned of by a model that is drawn with, not only opened", async () => {
  answers.set("load", (message) => [
    { type: "download", download: { file: "x", bytes: 3, total: 9 } },
    { type: "warning", message: "slow" },
    ...load(message),
  ]);
  const engine = localEngine();
  await draw(engine);
  expect(told).toEqual(["3 of 9", "slow", "ready"]);
});

it("knows models by their whole locations, whatever their folders are called", async () => {
  const cat = "/koala/models/%E7%8C%AB%20%231%3F%25";
  const places = ["/koala/models/my-sdxl", cat, "/old/50%", "owner/name"];
  answers.set("surroundings", result({ models: places.map((location) => ({ location })) }));
  const models = await localEngine().models();
  expect(models.map(({ title, location }) => [title, location])).toEqual([
    ["sdxl", "/koala/models/sdxl"],
    ["my-sdxl", "/koala/models/my-sdxl"],
    ["猫 #1?%", cat],
    ["50%", "/old/50%"],
    ["name", "owner/name"],
  ]);
});
