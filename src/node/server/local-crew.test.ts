/** Drawing processes that cannot be started. */

import { afterEach, beforeEach, expect, it } from "vitest";
import { defaults } from "../../../test/fake-world.ts";
import { resolveRequest } from "../../pipeline/request.ts";
import { LocalInspector } from "./inspector.ts";
import { LocalCrew } from "./local-crew.ts";

const node = process.execPath;
beforeEach(() => {
  process.execPath = "/nowhere/node"; // what `fork` starts
});
afterEach(() => {
  process.execPath = node;
});

const { signal } = new AbortController();
const request = resolveRequest({ prompt: "apple", seed: 1 }, defaults);
const lost =
  "the process that draws: expected to live until its picture is done, got spawn /nowhere/node ENOENT [E_ENGINE]";

it("loses the job and not its drawer, which starts the next process when it can", async () => {
  const crew = new LocalCrew({ models: {}, workers: 1, threads: 1, onSaid: () => {} });
  const draw = (): Promise<void> => crew.draw({ id: "a", model: "none", request }, async () => {}, signal);
  await expect(draw()).rejects.toThrow(lost);
  expect(crew.free).toBe(1);
  process.execPath = node;
  await expect(draw()).rejects.toThrow("model: expected one of , got none [E_MODEL]"); // a process has said so
  await crew.close();
});

it("leaves room for the next look inside", async () => {
  const inspector = new LocalInspector({}, 1);
  for (let i = 0; i < 2; i++) await expect(inspector.times("none", signal)).rejects.toThrow(lost);
});
