/** A job for a client that waits for the answer: it is cancelled when the client goes. */

import type { Context } from "hono";
import { convertPng, type PictureFormat } from "../image-file.ts";
import type { Env } from "./access.ts";
import { errorFrom } from "./crew.ts";
import { isOver, type Job, type KeptPicture } from "./job.ts";
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

/** A picture with its file. */
export interface PictureFile extends KeptPicture {
  readonly png: Uint8Array<ArrayBuffer>;
}

/** Its pictures with their files, but for those that someone took away by hand. */
export async function filesOf({ store }: ServerParts, job: Job): Promise<PictureFile[]> {
  const files = await Promise.all(
    job.pictures.map(async (picture) => ({ ...picture, png: await store.picture(job.id, picture.index) })),
  );
  return files.flatMap(({ png, ...picture }) => (png === null ? [] : [{ ...picture, png }]));
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

/** Files in base64. */
export const inBase64 = (files: readonly PictureFile[], format: PictureFormat = "png"): Promise<string[]> =>
  Promise.all(files.map(async ({ png }) => base64(format === "png" ? png : await convertPng(png, format))));
