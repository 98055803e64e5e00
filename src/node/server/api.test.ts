/** Single pictures of a job: marked and removed without their neighbours. */

import { expect, it } from "vitest";
import { gate } from "../../../test/fake-crew.ts";
import { accepted, type Scene, says, scenes } from "../../../test/server-scene.ts";
import type { JobView } from "./job.ts";

const scene = scenes();

/** A job with pictures, drawn. */
async function drawn(s: Scene, count: number): Promise<string> {
  const { id } = await accepted(s, { prompt: "apple", seed: 1, count });
  await s.jobs.ended(id);
  return id;
}
const pictures = async (s: Scene, id: string): Promise<JobView["pictures"]> =>
  ((await (await s.ask("GET", `/api/jobs/${id}`)).json()) as JobView).pictures;
const listed = async (s: Scene, query: string): Promise<string[]> =>
  ((await (await s.ask("GET", `/api/jobs?${query}`)).json()) as { jobs: JobView[] }).jobs.map(({ id }) => id);

it("removes one picture; the job goes with its last one", async () => {
  const s = await scene();
  const id = await drawn(s, 3);
  expect((await s.ask("DELETE", `/api/jobs/${id}/pictures/1`)).status).toBe(204);
  expect((await pictures(s, id)).map(({ index }) => index)).toEqual([0, 2]);
  expect((await s.ask("GET", `/pictures/${id}/1.png`)).status).toBe(404);
  expect((await s.ask("GET", `/pictures/${id}/2.png`)).status).toBe(200);
  expect(await says(await s.ask("DELETE", `/api/jobs/${id}/pictures/1`))).toEqual([
    404,
    "picture: expected the index of a picture of the job, got 1 [E_NOT_FOUND]",
  ]);
  for (const index of [0, 2]) await s.ask("DELETE", `/api/jobs/${id}/pictures/${index}`);
  expect((await s.ask("GET", `/api/jobs/${id}`)).status).toBe(404);
});

it("removes nothing of a job that still draws", async () => {
  const s = await scene();
  s.crew.before = gate().wait;
  const { id } = await accepted(s, { prompt: "apple" });
  await new Promise((resolve) => setTimeout(resolve, 20)); // it runs
  expect(await says(await s.ask("DELETE", `/api/jobs/${id}/pictures/0`))).toEqual([
    409,
    `job ${id}: expected a job that has ended, got running [E_CONFLICT]\nPOST /api/jobs/${id}/cancel ends it.`,
  ]);
});

it("marks one picture, or all with their job", async () => {
  const s = await scene();
  const id = await drawn(s, 2);
  const other = await drawn(s, 1);
  const marked = async (): Promise<boolean[]> => (await pictures(s, id)).map((one) => one.isFavourite);
  const mark = async (path: string, isFavourite: boolean): Promise<number> =>
    (await s.ask("PATCH", `/api/jobs/${id}${path}`, { isFavourite })).status;
  expect(await marked()).toEqual([false, false]);
  expect(await mark("/pictures/1", true)).toBe(200);
  expect(await marked()).toEqual([false, true]);
  expect(await listed(s, "favourite=true")).toEqual([id]);
  expect(await listed(s, "favourite=false")).toEqual([other]);
  await mark("", true);
  expect(await marked()).toEqual([true, true]);
  await mark("/pictures/0", false);
  expect(await marked()).toEqual([false, true]);
  await mark("", false);
  expect(await marked()).toEqual([false, false]);
  expect(await listed(s, "favourite=true")).toEqual([]);
  expect(await mark("/pictures/7", true)).toBe(404);
});

it("leaves the pictures of another token alone", async () => {
  const s = await scene({ access: { tokens: ["ann", "bob"] } });
  const as = (token: string) => ({ authorization: `Bearer ${token}` });
  const { id } = await accepted(s, { prompt: "apple" }, as("ann"));
  await s.jobs.ended(id);
  expect((await s.ask("DELETE", `/api/jobs/${id}/pictures/0`, undefined, as("bob"))).status).toBe(404);
  expect((await s.ask("DELETE", `/api/jobs/${id}/pictures/0`, undefined, as("ann"))).status).toBe(204);
});
