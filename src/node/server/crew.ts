/** Those who draw: child processes of this one, or workers on other machines behind Redis. The jobs know only this. */

import { KoalaError } from "../../core/errors.ts";
import type { StageName } from "../../pipeline/events.ts";
import type { Request } from "../../pipeline/request.ts";
import type { NsfwPolicy, NsfwVerdict } from "../nsfw/policy.ts";
import type { JobError } from "./job.ts";
import type { SentStart } from "./start-pictures.ts";

/** What is drawn; everything that a drawer needs to know of a job. */
export interface Task {
  readonly id: string;
  /** A name of the served list. */
  readonly model: string;
  readonly request: Request;
  /** What it starts from; absent: noise. */
  readonly start?: SentStart;
  /** What is done about explicit pictures; absent: nobody looks. */
  readonly nsfw?: NsfwPolicy;
}

/** The pipeline's events, with pictures as PNG bytes. */
export type DrawEvent =
  | { readonly type: "stage"; readonly stage: StageName; readonly detail: string }
  | {
      readonly type: "step";
      readonly index: number;
      readonly step: number;
      readonly steps: number;
      readonly seconds: number;
    }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "preview"; readonly index: number; readonly step: number; readonly png: Uint8Array }
  | {
      readonly type: "picture";
      readonly index: number;
      readonly seed: number;
      readonly png: Uint8Array;
      /** Of the process that drew it, in bytes. */
      readonly residentBytes: number;
      readonly nsfw?: NsfwVerdict;
    };

export interface Crew {
  /** Tasks that it would take on now. */
  readonly free: number;
  /** Those who draw. */
  readonly size: number;
  /** Called when `free` may have grown. */
  onFree(listener: () => void): void;
  /**
   * Draws a task; `tell` has kept each picture before this resolves. Aborting rejects.
   * @throws EngineLost when who drew it died: it may be tried again; KoalaError as the pipeline does
   */
  draw(task: Task, tell: (event: DrawEvent) => Promise<void>, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Who drew it died, through no known fault of the request. */
export class EngineLost extends KoalaError {
  constructor(got: string) {
    super("E_ENGINE", {
      where: "the process that draws",
      expected: "to live until its picture is done",
      got,
    });
  }
}

/** Why a draw is aborted when the server goes and the job stays: who draws elsewhere may go on with it. */
export class Closing extends Error {}

/** An error that came from another process as data. */
export function errorFrom({ code, where, expected, got, hint }: JobError): KoalaError {
  return new KoalaError(code, { where, expected, got, ...(hint === undefined ? {} : { hint }) });
}

/** Anything thrown, as a client may see it: faults of ours without their insides. */
export function errorData(thrown: unknown): JobError {
  if (thrown instanceof KoalaError) return thrown.toJSON();
  const ours = { where: "koala", expected: "no surprise", got: "a fault of the server; its log says more" };
  return new KoalaError("E_INTERNAL", ours).toJSON();
}
