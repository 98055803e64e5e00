/** An abort is heard while the text is encoded, and what was loaded for it is freed; what T5 does not read is told of. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { writeFamily, writePixart } from "../../test/model-folder.ts";
import { ortEngine } from "../node/ort-node.ts";
import { host } from "../runtime/host.ts";
import type { Engine } from "../runtime/session.ts";
import { Pipeline } from "./pipeline.ts";

let work = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-encode-"));
  writeFamily(join(work, "koala"), "koala-700m"); // two encoders
  writePixart(join(work, "pixart"), "sigma"); // one, in an embedding and three blocks
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

interface Counts {
  loaded: number;
  ran: number;
  held: number;
}

/** What was done, and is held after it, by a call that is aborted as soon as `isTime`. */
async function stopped(folder: string, isTime: (done: Counts) => boolean): Promise<Counts> {
  const done: Counts = { loaded: 0, ran: 0, held: 0 };
  const stop = new AbortController();
  const reason = new Error("enough");
  const look = (): void => {
    if (isTime(done)) stop.abort(reason);
  };
  const real = ortEngine();
  const counted: Engine = {
    ...real,
    async load(model, o) {
      const session = await real.load(model, o);
      done.loaded++;
      done.held++;
      look();
      return {
        run(feeds, into) {
          done.ran++;
          look();
          return session.run(feeds, into);
        },
        dispose() {
          done.held--;
          return session.dispose();
        },
      };
    },
  };
  vi.spyOn(host, "engine").mockResolvedValue(counted);
  const pipeline = await Pipeline.load(join(work, folder), { isOffline: true, residentBytes: 0 });
  onTestFinished(() => pipeline.dispose());
  const request = { prompt: "a red apple", steps: 1, width: 64, height: 64 };
  const run = async (): Promise<void> => {
    for await (const event of pipeline.generate(request, { signal: stop.signal })) {
      expect(event).toMatchObject({ type: "stage", stage: "text" });
      look();
    }
  };
  await expect(run()).rejects.toBe(reason);
  return done;
}

it("before the first encoder is loaded", async () => {
  expect(await stopped("koala", () => true)).toEqual({ loaded: 0, ran: 0, held: 0 });
});

it("before one that is loaded runs", async () => {
  expect(await stopped("koala", ({ loaded }) => loaded === 1)).toEqual({ loaded: 1, ran: 0, held: 0 });
});

it("before the next is loaded", async () => {
  expect(await stopped("koala", ({ ran }) => ran === 1)).toEqual({ loaded: 1, ran: 1, held: 0 });
});

it("before the next piece of one that runs in pieces", async () => {
  expect(await stopped("pixart", ({ ran }) => ran === 2)).toEqual({ loaded: 2, ran: 2, held: 0 });
});

it("weights of words are told of where T5 reads them, and skipped layers", async () => {
  const pipeline = await Pipeline.load(join(work, "pixart"), { isOffline: true });
  onTestFinished(() => pipeline.dispose());
  const warnings: string[] = [];
  const request = { prompt: "a (red:99) apple", steps: 1, width: 64, height: 64, clipSkip: 1 };
  for await (const event of pipeline.generate(request))
    if (event.type === "warning") warnings.push(event.message);
  expect(warnings).toEqual([
    "clipSkip has no effect on a model that has another text encoder than CLIP",
    "weights of words have no effect on this model, whose text encoder reads them as words",
  ]);
});
