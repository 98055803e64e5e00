/** What draws for the page: a worker of this browser or a server. The panels know only this. */

import type { ModelDefaults, Picture, Request, RequestInput, StageName } from "koala-diffusion";
import type {
  Exploration,
  Needs,
  Recorded,
  StartFiles,
  Structure,
  StructureRequest,
  Surroundings,
} from "koala-diffusion/web";

/** A picture to show: pixels, or the address of a file. */
export type Shown = { readonly picture: Picture } | { readonly url: string };

/** A finished picture. */
export interface Drawing {
  readonly id: string;
  readonly model: string;
  /** With every field filled; its seed is this picture's own. */
  readonly request: Request;
  readonly url: string;
  /** That it took; null where that is not known. */
  readonly seconds: number | null;
  /** That who drew it held in memory; null where that is not known. */
  readonly bytes: number | null;
  /** What a check of the picture found; null where there was none, or it found nothing. */
  readonly note: string | null;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly isFavourite: boolean;
}

export type DrawEvent =
  | { readonly type: "waiting"; readonly ahead: number }
  | { readonly type: "stage"; readonly stage: StageName; readonly detail: string }
  | {
      readonly type: "step";
      readonly index: number;
      readonly step: number;
      readonly steps: number;
      readonly seconds: number;
    }
  | { readonly type: "preview"; readonly index: number; readonly step: number; readonly shown: Shown }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "picture"; readonly drawing: Drawing };

export interface Model {
  readonly name: string;
  /** What people call it. */
  readonly title: string;
  /** What its files are kept under and errors call it: a name may stand for an address of the site. */
  readonly location: string;
  /** Null until it is opened. */
  readonly family: string | null;
  readonly engine: string | null;
  readonly defaults: ModelDefaults | null;
  /** That a request may name, the usual one first. */
  readonly precisions: readonly string[] | null;
  /** Pixels that the sides of a picture are multiples of. */
  readonly unit: number | null;
  /** Whether it draws nothing but what is painted on a picture. */
  readonly isInpainting: boolean | null;
}

/** What is told while a model is made ready; an engine elsewhere tells none of it. */
export interface Progress {
  /** Of all files together. */
  onBytes(bytes: number, total: number): void;
  /** Nothing more is fetched. */
  onReady(): void;
  onWarning(message: string): void;
}

export interface History {
  /** The newest first, at most so many, and whether there are more. */
  list(
    search: string,
    onlyFavourites: boolean,
    most: number,
  ): Promise<{ readonly drawings: readonly Drawing[]; readonly isMore: boolean }>;
  setFavourite(drawing: Drawing, isFavourite: boolean): Promise<void>;
  remove(drawing: Drawing): Promise<void>;
  /** What a picture started from; null: noise, or it is not kept. */
  startOf(drawing: Drawing): Promise<StartFiles | null>;
  /** Whether it outlives the page. */
  isKept(): Promise<boolean>;
}

/** A training run; `records` are the lines of its log. */
export interface Run {
  readonly name: string;
  readonly kind: string;
  readonly steps: number;
  readonly step: number;
  readonly loss: number | null;
}
export interface RunDetails extends Run {
  readonly records: readonly {
    readonly step: number;
    readonly loss: number;
    readonly rate?: number;
    readonly picturesPerSecond?: number;
    readonly terms?: Readonly<Record<string, number>>;
  }[];
  readonly samples: readonly { readonly step: number; readonly url: string }[];
}

/** A call that takes a while; `onStep` is not called by all of them. */
export interface Watched extends Progress {
  readonly signal: AbortSignal;
  onStep(step: number, steps: number): void;
}

export interface Engine {
  /** Where it computes. */
  readonly kind: "browser" | "server";
  models(): Promise<readonly Model[]>;
  /** Makes a model ready, fetching it where needed, in place of the one before. */
  open(name: string, o: { readonly signal: AbortSignal } & Progress): Promise<Model>;
  draw(
    model: string,
    request: RequestInput,
    o: { readonly signal: AbortSignal; readonly start: StartFiles | null } & Progress,
  ): AsyncGenerator<DrawEvent>;
  readonly history: History;
  readPicture(file: File): Promise<Recorded>;
  structure(of: StructureRequest): Promise<Structure>;
  /** Seconds of each stage of a model's network in one forward, measured. */
  times(model: string, o: Watched): Promise<Readonly<Record<string, number>>>;
  explore(model: string, request: RequestInput, o: Watched): Promise<Exploration>;
  /** Null where models are not this page's to keep. */
  readonly storage: {
    surroundings(): Promise<Surroundings>;
    remove(name: string): Promise<void>;
    /** Of KOALA-Lightning-700M in 4 bits at 1024 px. */
    needs(): Promise<Needs>;
  } | null;
  readonly runs: { list(): Promise<readonly Run[]>; read(name: string): Promise<RunDetails> } | null;
  /** A picture that was being drawn when the page was left, if it still is. */
  unfinished(): Promise<((signal: AbortSignal) => AsyncGenerator<DrawEvent>) | null>;
}
