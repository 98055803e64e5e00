/** Jobs on a disk that is full. */

import { afterEach, expect, it, vi } from "vitest";
import { defaults } from "../../../test/fake-world.ts";
import { scenes } from "../../../test/server-scene.ts";
import { KoalaError } from "../../core/errors.ts";
import { resolveRequest } from "../../pipeline/request.ts";

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
