/** What a server and its workers agree on in Redis: names of queues and keys, events as text. */

import { createHash } from "node:crypto";
import type { DrawEvent, Task } from "./crew.ts";
import type { JobError } from "./job.ts";

/** One queue a model: a worker takes only what it can draw. BullMQ allows no colon in a name. */
export const queueName = (model: string): string =>
  `koala-${createHash("sha256").update(model).digest("hex").slice(0, 16)}`;

/** Where workers tell what happens, and where they hear of jobs that were cancelled. */
export const eventsChannel = "koala:events";
export const cancelChannel = "koala:cancel";

/** The pictures of one try. A worker that lost its job writes under another try's key than the one that has it. */
export const picturesKey = (id: string, attempt: string): string => `koala:pictures:${id}:${attempt}`;
/** A server that was away longer than this draws again, in seconds. */
export const picturesTtl = 86_400;

/** How long a worker holds a job without a sign of life before another one takes it, in milliseconds. */
export const lockMs = 15_000;
export const stalledCheckMs = 5_000;

/** What a finished job returns through BullMQ. */
export interface Drawn {
  readonly attempt: string;
}

/** A failure that is the request's or the model's, and not the worker's, in the try whose pictures of before it are kept. */
export interface Failure extends Drawn {
  readonly koala: JobError;
}

/** As text of BullMQ's `failedReason`. */
export const failureText = (failure: Failure): string => JSON.stringify(failure);

/** Null for what went wrong otherwise. */
export function failureFrom(text: string): Failure | null {
  try {
    const found = JSON.parse(text) as Partial<Failure>;
    return found.koala === undefined ? null : (found as Failure);
  } catch {
    return null;
  }
}

/** What is told while drawing; pictures come with the result instead. */
export type Told = Exclude<DrawEvent, { type: "picture" }>;

export function toldText(task: Task, event: Told): string {
  const sent =
    event.type === "preview" ? { ...event, png: Buffer.from(event.png).toString("base64") } : event;
  return JSON.stringify({ id: task.id, event: sent });
}

export function toldFrom(text: string): { id: string; event: Told } {
  const { id, event } = JSON.parse(text) as { id: string; event: Told };
  if (event.type !== "preview") return { id, event };
  return { id, event: { ...event, png: new Uint8Array(Buffer.from(String(event.png), "base64")) } };
}

/** A picture as a field of its try's hash: what is known of it as JSON, with its length ahead, and then the PNG. */
export function pictureField({
  type: _,
  index: _index,
  png,
  ...facts
}: DrawEvent & { type: "picture" }): Buffer {
  const told = Buffer.from(JSON.stringify(facts));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(told.length);
  return Buffer.concat([length, told, png]);
}

export function pictureFrom(index: number, field: Buffer): DrawEvent & { type: "picture" } {
  const end = 4 + field.readUInt32LE(0);
  const facts = JSON.parse(field.subarray(4, end).toString()) as Pick<
    DrawEvent & { type: "picture" },
    "seed" | "residentBytes" | "nsfw"
  >;
  return { type: "picture", index, ...facts, png: new Uint8Array(field.subarray(end)) };
}
