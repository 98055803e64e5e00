/** Jobs on a disk that is full, and jobs that outlive their server. */

import { cpSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { gate } from "../../../test/fake-crew.ts";
import { defaults } from "../../../test/fake-world.ts";
import { type Scene, scenes } from "../../../test/server-scene.ts";
import { KoalaError } from "../../core/errors.ts";
import { resolveRequest } from "../../pipeline/request.ts";
import { EngineLost } from "./crew.ts";

const scene = scenes();
afterEach(() => void vi.useRealTimers());
const request = resolveRequest({ prompt: "apple", seed: 1 }, defaults);
const mine = { owner: "", client: "here", isAwaited: false, model: "koala-emoji", request };
const full = (): never => {
  throw new KoalaError("E_DISK", { where: "data", expected: "room on the disk", got: "none" });
};

it("fails what finds no room, says so, and goes on with the next", async () => {
  const s = await scene();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const keep = vi.spyOn(s.store, "addPicture").mockImplementation(async () => full());
  const ends = vi.spyOn(s.store, "end").mockImplementation(full);
  const first = s.jobs.create(mine);
  expect(await s.jobs.ended(first.id)).toMatchObject({ state: "failed", error: { code: "E_DISK" } });
  expect(s.store.get(first.id)?.state).toBe("running"); // there was no room to say otherwise
  keep.mockRestore();
  ends.mockRestore();
  await vi.advanceTimersByTimeAsync(5_000);
  vi.useRealTimers();
  expect(s.store.get(first.id)).toMatchObject({ state: "failed", error: { code: "E_DISK" } });
  expect(await s.jobs.ended(s.jobs.create(mine).id)).toMatchObject({ state: "done" });
});

it("fails a job whose beginning cannot be kept, and draws the one behind it", async () => {
  const s = await scene();
  const starts = vi.spyOn(s.store, "start").mockImplementationOnce(full);
  const [first, second] = [s.jobs.create(mine), s.jobs.create(mine)];
  expect(await s.jobs.ended(first.id)).toMatchObject({ state: "failed", error: { code: "E_DISK" } });
  expect(await s.jobs.ended(second.id)).toMatchObject({ state: "done" });
  expect(starts).toHaveBeenCalledTimes(2);
});

describe("a job that runs when its server ends", () => {
  /** A server on what another one's folder holds at this moment: all that a crash leaves of it. */
  async function successor(s: Scene, before: () => Promise<void>): Promise<Scene> {
    const folder = `${s.folder}-after`;
    cpSync(s.folder, folder, { recursive: true });
    const next = await scene({ folder });
    next.crew.before = before;
    next.jobs.resume();
    return next;
  }
  const runs = (s: Scene, id: string) => expect.poll(() => s.jobs.runningIds()).toEqual([id]);

  it("is failed at the start after its third crash, and what waited behind it is drawn", async () => {
    let s = await scene();
    s.crew.before = gate().wait;
    const { id } = s.jobs.create(mine);
    const next = s.jobs.create(mine);
    for (let crash = 1; crash < 3; crash++) {
      await runs(s, id);
      s = await successor(s, gate().wait);
    }
    await runs(s, id);
    s = await successor(s, async () => {});
    expect(await s.jobs.ended(id)).toMatchObject({
      state: "failed",
      error: {
        code: "E_ENGINE",
        message:
          "the process that draws: expected to live until its picture is done, got an end before it, in each of 3 tries [E_ENGINE]",
      },
    });
    expect(await s.jobs.ended(next.id)).toMatchObject({ state: "done", tries: 1 });
    expect(s.crew.drawn).toEqual(["apple"]);
  });

  it("is drawn after any number of orderly stops", async () => {
    let s = await scene();
    s.crew.before = gate().wait;
    const { id } = s.jobs.create(mine);
    for (let stop = 0; stop < 4; stop++) {
      await runs(s, id);
      await s.jobs.close();
      expect(s.store.get(id)).toMatchObject({ state: "waiting", tries: 0 });
      s = await successor(s, stop < 3 ? gate().wait : async () => {});
    }
    expect(await s.jobs.ended(id)).toMatchObject({ state: "done", tries: 1 });
  });

  it("keeps the try whose engine was lost as the server stopped", async () => {
    const s = await scene();
    let lose = (): void => {};
    s.crew.before = () =>
      new Promise((_, reject) => {
        lose = () => reject(new EngineLost("SIGKILL"));
      });
    const { id } = s.jobs.create(mine);
    await runs(s, id);
    lose();
    await s.jobs.close();
    expect(s.store.get(id)).toMatchObject({ state: "waiting", tries: 1 });
  });
});
