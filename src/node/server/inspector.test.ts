import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openScene, type Scene } from "../../../test/server-scene.ts";
import type { Exploration } from "../../analyze/explore.ts";
import { unpack } from "../../analyze/packed.ts";
import { KoalaError } from "../../core/errors.ts";
import { Pipeline } from "../../pipeline/pipeline.ts";
import { asAllowed, LocalInspector } from "./inspector.ts";

const model = join(import.meta.dirname, "../../../models/koala-emoji");
const here = new AbortController().signal;

describe("looking inside, in a process of its own", () => {
  const inspector = new LocalInspector({ emoji: { location: model, engine: "ort" } }, 2);

  it("draws and keeps the maps; another call meanwhile is told to wait", async () => {
    const pipeline = await Pipeline.load(model, { engine: "ort" });
    const request = pipeline.resolve({ prompt: "red apple", steps: 2, seed: 7 });
    await pipeline.dispose();
    const looking = inspector.explore("emoji", request, here);
    await expect(inspector.times("emoji", here)).rejects.toThrow(
      new KoalaError("E_BUSY", {
        where: "looking inside",
        expected: "one at a time",
        got: "one more",
        hint: "Try again when the other one is done.",
      }),
    );
    const { looks, words, picture } = await looking;
    expect(words).toEqual(["red", "apple"]);
    expect(picture.width).toBe(request.width);
    const [first] = looks;
    const tokens = (first?.grid.width ?? 0) * (first?.grid.height ?? 0);
    expect(first?.self.slice(0, tokens).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
  });

  it("measures the stages", async () => {
    const times = await inspector.times("emoji", here);
    expect(Object.keys(times)).toContain("stem");
    for (const seconds of Object.values(times)) expect(seconds).toBeGreaterThan(0);
  });

  it("ends when nobody waits any more, and refuses more maps than memory holds", async () => {
    const stop = new AbortController();
    const left = inspector.times("emoji", stop.signal);
    stop.abort(new Error("gone"));
    await expect(left).rejects.toThrow("gone");
    await expect(inspector.explore("emoji", { steps: 31 } as never, here)).rejects.toThrow(
      "steps: expected at most 30 to look inside, got 31 [E_REQUEST]",
    );
  });
});

describe("/api", () => {
  let s: Scene;
  beforeAll(async () => {
    s = await openScene();
  });
  afterAll(() => s.remove());

  it("has the U-Net of a served and of a published model, and their times", async () => {
    const own = await s.ask("GET", "/api/structure/model/other/model");
    const published = await s.ask("GET", "/api/structure/preset/koala-700m");
    expect(await own.json()).toEqual(await published.json());
    expect(await (await s.ask("POST", "/api/times/other/model")).json()).toEqual({
      stages: { DW1: 0.5, stem: 0.25 },
    });
    const wrong = await s.ask("GET", "/api/structure/preset/koala-7b");
    expect(wrong.status).toBe(404);
  });

  it("sends maps as packed numbers", async () => {
    const answer = await s.ask("POST", "/api/explore", { prompt: "a", seed: 3 });
    const found = unpack(new Uint8Array(await answer.arrayBuffer()));
    expect(found).toMatchObject({
      request: { prompt: "a", seed: 3 },
      looks: [{ self: Float32Array.of(0.25, 0.75) }],
    });
    expect((await s.ask("POST", "/api/explore", { prompt: "a", steps: 151 })).status).toBe(400);
  });
});

describe("the picture of a look inside", () => {
  const picture = { width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 0, 0, 255) };
  const found = { picture } as unknown as Exploration;
  const scores = { drawing: 0, hentai: 0.5, neutral: 0, porn: 0.5, sexy: 0 };
  const explicit = { by: "a test", classify: async () => scores };

  it("is shown as every other picture of the server: as it is, blurred, or not at all", async () => {
    expect(await asAllowed(found, "off")).toBe(found);
    expect((await asAllowed(found, "flag", explicit)).picture).toBe(picture);
    expect((await asAllowed(found, "blur", explicit)).picture.data).not.toEqual(picture.data);
    await expect(asAllowed(found, "refuse", explicit)).rejects.toThrow("E_REFUSED");
  });
});
