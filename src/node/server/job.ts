/** A job: one request on its way to pictures. What the store keeps, what runs, what clients see. */

import { randomBytes } from "node:crypto";
import type { KoalaError } from "../../core/errors.ts";
import type { Request } from "../../pipeline/request.ts";
import type { PictureFormat } from "../image-file.ts";
import type { NsfwVerdict } from "../nsfw/policy.ts";

export const jobStates = ["waiting", "running", "done", "failed", "cancelled"] as const;
export type JobState = (typeof jobStates)[number];

export type JobError = ReturnType<KoalaError["toJSON"]>;

export interface JobPicture {
  readonly index: number;
  readonly seed: number;
  /** What was found out about what it shows; absent where nobody looked. */
  readonly nsfw?: NsfwVerdict;
  /** Bytes that the process held that drew it, when it was done; absent in pictures of before this was kept. */
  readonly residentBytes?: number;
}

/** A picture in the history. */
export interface KeptPicture extends JobPicture {
  /** Marked itself, or with its whole job. */
  readonly isFavourite: boolean;
}

export interface Job {
  /** 128 random bits: who knows it may see the pictures. */
  readonly id: string;
  /** Whose token it came with; only they list, cancel or remove it. */
  readonly owner: string;
  /** Whose turn in the queue it takes. */
  readonly client: string;
  /** Whether a client waits for the answer: then the job ends with the connection, and does not outlive the server. */
  readonly isAwaited: boolean;
  readonly model: string;
  /** With every default filled in, the seed too: a second run draws the same pictures. */
  readonly request: Request;
  /** What of pictures it starts from; null: noise. */
  readonly start: { readonly hasMask: boolean } | null;
  readonly state: JobState;
  readonly isFavourite: boolean;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly error: JobError | null;
  /** How often it was begun, but for those times that an orderly stop of the server cut short. */
  readonly tries: number;
  readonly pictures: readonly KeptPicture[];
}

export const newJobId = (): string => randomBytes(16).toString("hex");

export const isOver = (state: JobState): boolean =>
  state === "done" || state === "failed" || state === "cancelled";

export const picturePath = (id: string, index: number, format: PictureFormat = "png"): string =>
  `/pictures/${id}/${index}.${format === "jpeg" ? "jpg" : format}`;

/** What a job starts from, by the names that lead to it. */
export const startNames = ["image", "mask"] as const;
export type StartName = (typeof startNames)[number];

const startPath = (id: string, name: StartName): string => `/pictures/${id}/${name}.png`;

/** A job as `/api/jobs` shows it. */
export interface JobView
  extends Omit<Job, "owner" | "client" | "isAwaited" | "tries" | "start" | "pictures"> {
  /** Addresses of what it starts from, as PNG; null: noise. */
  readonly start: { readonly image: string; readonly mask: string | null } | null;
  /** Jobs that come before it; null unless it waits. */
  readonly position: number | null;
  readonly pictures: readonly (KeptPicture & { readonly url: string })[];
}

export function viewOf(job: Job, position: number | null): JobView {
  const {
    owner: _owner,
    client: _client,
    isAwaited: _isAwaited,
    tries: _tries,
    start,
    pictures,
    ...shown
  } = job;
  const { id } = job;
  return {
    ...shown,
    position,
    start: start && { image: startPath(id, "image"), mask: start.hasMask ? startPath(id, "mask") : null },
    pictures: pictures.map((picture) => ({ ...picture, url: picturePath(job.id, picture.index) })),
  };
}
