/** A job for a client that waits for the answer: it is cancelled when the client goes. */

import type { Context } from "hono";
import { convertPng, type PictureFormat } from "../image-file.ts";
import type { Env } from "./access.ts";
import { errorFrom } from "./crew.ts";
import { isOver, type Job } from "./job.ts";
import type { Accepted } from "./models.ts";
import type { ServerParts } from "./parts.ts";

/** What came out; a cancelled job has the pictures that were done. @throws KoalaError what the job failed with, E_BUSY */
export async function awaitJob(
  c: Context<Env>,
  { jobs, store }: ServerParts,
  model: string,
  accepted: Accepted,
): Promise<Job> {
  const { signal } = c.req.raw;
  const job = jobs.create({ ...c.var.asker, isAwaited: true, model, ...accepted });
  const leave = (): void => {
    const now = store.get(job.id);
    if (now !== null && !isOver(now.state)) jobs.cancel(now);
  };
  signal.addEventListener("abort", leave, { once: true });
  try {
    if (signal.aborted) leave();
    const ended = (await jobs.ended(job.id)) ?? job;
    if (ended.error !== null) throw errorFrom(ended.error);
    return ended;
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

/** Its pictures in base64. */
export async function picturesOf(
  { store }: ServerParts,
  job: Job,
  format: PictureFormat = "png",
): Promise<string[]> {
  const pngs = await Promise.all(job.pictures.map(({ index }) => store.picture(job.id, index)));
  const there = pngs.filter((png) => png !== null);
  const files = format === "png" ? there : await Promise.all(there.map((png) => convertPng(png, format)));
  return files.map((bytes) => Buffer.from(bytes).toString("base64"));
}
