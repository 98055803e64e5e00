/** The studio's way to a server, against a server without an engine: its gallery is one of pictures, not of jobs. */

import sharp from "sharp";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { remoteEngine } from "../studio/engine-remote.ts";
import type { DrawEvent, Drawing } from "../studio/engines.ts";
import { gate } from "./fake-crew.ts";
import { accepted, eventsOf, type Scene, scenes } from "./server-scene.ts";

const scene = scenes();
let s: Scene;

/** Node has none; this one reads a stream to its end and tells it then. */
class EndedSource extends EventTarget {
  static readonly CLOSED = 2;
  readonly readyState = 0;
  constructor(path: string) {
    super();
    void s.ask("GET", `/${path}`).then(async (response) => {
      for (const { name, data } of await eventsOf(response))
        this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
    });
  }
  close(): void {}
}

beforeEach(async () => {
  s = await scene();
  vi.stubGlobal("fetch", (path: string, { method = "GET", body }: RequestInit = {}) =>
    s.ask(method, `/${path}`, body ?? undefined),
  );
  vi.stubGlobal("EventSource", EndedSource);
});
afterEach(() => vi.unstubAllGlobals());

const drawn = async (prompt: string, count = 1): Promise<void> => {
  await s.jobs.ended((await accepted(s, { prompt, seed: 1, count })).id);
};
const seeds = (drawings: readonly Drawing[]): number[] => drawings.map(({ request }) => request.seed);

it("removes and marks one picture of a job", async () => {
  const { history } = remoteEngine();
  await drawn("apple", 3);
  const [first, second] = (await history.list("", false, 9)).drawings as [Drawing, Drawing];
  await history.remove(first);
  await history.setFavourite(second, true);
  expect(seeds((await history.list("", false, 9)).drawings)).toEqual([2, 3]);
  expect(seeds((await history.list("", true, 9)).drawings)).toEqual([2]);
});

it("shows as many as are wanted, past jobs without pictures, and says whether there are more", async () => {
  const { history } = remoteEngine();
  await drawn("oldest", 2);
  s.crew.before = () => Promise.reject(new Error("no"));
  for (let i = 0; i < 4; i++) await drawn("failed");
  s.crew.before = async () => {};
  await drawn("newest");
  const found = async (most: number): Promise<unknown> => {
    const { drawings, isMore } = await history.list("", false, most);
    return [drawings.map(({ request }) => `${request.prompt} ${request.seed}`), isMore];
  };
  expect(await found(2)).toEqual([["newest 1", "oldest 1"], true]);
  expect(await found(3)).toEqual([["newest 1", "oldest 1", "oldest 2"], false]);
});

it("keeps what was done before a cancel", async () => {
  const { history } = remoteEngine();
  const hold = gate();
  s.crew.after = hold.wait;
  const { id } = await accepted(s, { prompt: "apple", seed: 1, count: 2 });
  const shown = async (): Promise<readonly Drawing[]> => (await history.list("", false, 9)).drawings;
  await expect.poll(async () => seeds(await shown())).toEqual([1]);
  expect((await s.ask("POST", `/api/jobs/${id}/cancel`)).status).toBe(200);
  const [kept] = await shown();
  expect(kept).toMatchObject({ request: { seed: 1 }, seconds: null });
  await history.remove(kept as Drawing);
  expect((await s.ask("GET", `/api/jobs/${id}`)).status).toBe(404);
});

it("passes on each picture once, as it is done, and the last with the time that each took", async () => {
  const events: DrawEvent[] = [];
  const { signal } = new AbortController();
  for await (const event of remoteEngine().draw(
    "koala-emoji",
    { prompt: "apple", seed: 5, count: 3 },
    { signal, start: null, onBytes() {}, onReady() {}, onWarning() {} },
  ))
    events.push(event);
  const pictures = events.flatMap((event) => (event.type === "picture" ? [event.drawing] : []));
  expect(seeds(pictures)).toEqual([5, 6, 7]);
  expect(pictures.map(({ seconds }) => seconds === null)).toEqual([true, true, false]);
});

it("sends a picture and a mask to start from, and gives them back with the drawing", async () => {
  const { draw, history } = remoteEngine();
  const file = async (background: string): Promise<Blob> =>
    new Blob([
      await sharp({ create: { width: 80, height: 40, channels: 3, background } })
        .png()
        .toBuffer(),
    ]);
  const start = { image: await file("red"), mask: await file("white") };
  const { signal } = new AbortController();
  const watched = { signal, start, onBytes() {}, onReady() {}, onWarning() {} };
  for await (const _ of draw("koala-emoji", { prompt: "apple", width: 64, height: 32 }, watched));
  await drawn("pear");
  const [pear, apple] = (await history.list("", false, 9)).drawings as [Drawing, Drawing];
  expect(await history.startOf(pear)).toBeNull();
  const kept = await history.startOf(apple);
  const looks = [kept?.image, kept?.mask].map(async (blob) => {
    const { data, info } = await sharp(await blob?.arrayBuffer())
      .raw()
      .toBuffer({ resolveWithObject: true });
    return [info.width, info.height, ...data.subarray(0, 3)];
  });
  expect(await Promise.all(looks)).toEqual([
    [64, 32, 255, 0, 0],
    [64, 32, 255, 255, 255],
  ]);
});

it("asks for a model by its whole name, whatever its folder is called", async () => {
  const { models, structure, times } = remoteEngine();
  const name = "猫 #1?50%/x";
  const { signal } = new AbortController();
  const watched = { signal, onBytes() {}, onReady() {}, onWarning() {}, onStep() {} };
  await expect(structure({ model: name })).rejects.toThrow(`got ${JSON.stringify(name)}`);
  await expect(times(name, watched)).rejects.toThrow(`got ${JSON.stringify(name)}`);
  expect((await models()).map(({ location }) => location)).toEqual(["koala-emoji", "other/model"]);
});
