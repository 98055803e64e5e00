/** What a server and its drawing processes say to each other. */

import type { PrecisionName } from "../../pipeline/request.ts";
import type { DrawEvent, Task } from "./crew.ts";
import type { JobError } from "./job.ts";

/** Where a served model is and how it is opened; what stands in `LoadOptions` and survives being sent. */
export interface ModelPlace {
  readonly location: string;
  readonly engine?: string;
  /** Of requests that name none, and what `auto` takes an engine for; absent: f32. */
  readonly precision?: PrecisionName;
  readonly base?: string;
  readonly isOffline?: boolean;
}

/** By the name that clients use. */
export type ModelPlaces = Readonly<Record<string, ModelPlace>>;

export type ToEngine =
  | { readonly type: "setup"; readonly models: ModelPlaces; readonly threads?: number }
  | { readonly type: "draw"; readonly task: Task }
  | { readonly type: "stop"; readonly id: string };

export type FromEngine =
  | { readonly type: "event"; readonly id: string; readonly event: DrawEvent }
  | { readonly type: "done"; readonly id: string }
  | { readonly type: "error"; readonly id: string; readonly error: JobError };
