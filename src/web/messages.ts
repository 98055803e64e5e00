/** What page and worker say to each other. Pictures travel as transferred buffers. */

import type { Exploration } from "../analyze/explore.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { ModelDefaults } from "../models/detect.ts";
import type { PipelineEvent } from "../pipeline/events.ts";
import type { Needs } from "../pipeline/needs.ts";
import type { PrecisionName, RequestInput } from "../pipeline/request.ts";
import type { EngineStatus } from "../runtime/session.ts";
import type { StartFiles } from "./start-files.ts";
import type { Structure, StructureRequest } from "./structure.ts";

export interface LoadRequest {
  readonly location: string;
  readonly engine: string;
}

/** What is loaded. */
export interface LoadedModel {
  readonly location: string;
  readonly family: string;
  readonly engine: string;
  readonly defaults: ModelDefaults;
  /** What a request may name, the usual one first. */
  readonly precisions: readonly PrecisionName[];
  /** Pixels that the sides of a picture are multiples of. */
  readonly unit: number;
  /** Whether it draws nothing but what a mask leaves to it of a picture. */
  readonly isInpainting: boolean;
}

/** A model that this browser keeps, whole or in part. */
export interface KeptModel {
  readonly location: string;
  readonly bytes: number;
  /** Of these here. */
  readonly hereBytes: number;
}

/** What a graphics adapter allows. */
export interface AdapterLimits {
  /** Of one buffer that a shader sees. */
  readonly bufferBytes: number;
  readonly isSoftware: boolean;
}

/** What this browser can do, for a page that must say what works. */
export interface Surroundings {
  readonly engines: readonly EngineStatus[];
  /** Null where there is no adapter. */
  readonly adapter: AdapterLimits | null;
  /** Whether models outlive the page. */
  readonly isKept: boolean;
  /** Bytes; null where the browser does not tell. */
  readonly quota: number | null;
  readonly usage: number | null;
  readonly models: readonly KeptModel[];
}

export interface GenerateRequest {
  readonly request: RequestInput;
  /** Null: noise. */
  readonly start: StartFiles | null;
}

/** What to draw while looking inside. */
export type ExploreRequest = RequestInput;

/** Each call with its argument and result; `generate` tells events before its end. */
export interface Calls {
  load: { argument: LoadRequest; result: LoadedModel };
  generate: { argument: GenerateRequest; result: null };
  /** Draws with the loaded model and looks inside; tells its steps before its end. */
  explore: { argument: ExploreRequest; result: Exploration };
  /** What a U-Net consists of: a loaded model's or a preset's. */
  structure: { argument: StructureRequest; result: Structure };
  /** Seconds of each stage of the loaded model's denoiser; tells its stages before its end. */
  times: { argument: null; result: Readonly<Record<string, number>> };
  /** What the engine holds now. */
  engineBytes: { argument: null; result: number };
  surroundings: { argument: null; result: Surroundings };
  /** What a published model in 4 bits needs at a size in pixels. */
  needs: { argument: { readonly preset: string; readonly pixels: number }; result: Needs };
  remove: { argument: string; result: null };
}
export type CallName = keyof Calls;

export type ToWorker =
  | {
      readonly [K in CallName]: {
        readonly id: number;
        readonly call: K;
        readonly argument: Calls[K]["argument"];
      };
    }[CallName]
  | { readonly id: number; readonly call: "abort" };

/** An error as data: its class does not survive the way. */
export interface SentError {
  readonly message: string;
  readonly code: ErrorCode | null;
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint: string | null;
  readonly isAbort: boolean;
}

export interface Download {
  readonly file: string;
  readonly bytes: number;
  readonly total: number;
}

export type FromWorker =
  | { readonly id: number; readonly type: "result"; readonly result: unknown }
  | { readonly id: number; readonly type: "error"; readonly error: SentError }
  | { readonly id: number; readonly type: "explored"; readonly step: number; readonly steps: number }
  | { readonly id: number; readonly type: "event"; readonly event: PipelineEvent }
  | { readonly id: number; readonly type: "download"; readonly download: Download }
  | { readonly id: number; readonly type: "warning"; readonly message: string };
