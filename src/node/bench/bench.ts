/** What a benchmark was asked, and what its questions have at hand. */

import type { Precision } from "../../runtime/session.ts";
import type { Command, Outcome } from "./child.ts";
import type { PeerName, PrecisionName, Python } from "./peers.ts";

export const questionNames = [
  "unet",
  "image",
  "load",
  "memory",
  "models",
  "quality",
  "train-step",
  "serve",
] as const;
export type QuestionName = (typeof questionNames)[number];

/** A peer, in one precision where one is named. */
export interface Against {
  readonly peer: PeerName;
  readonly precision?: PrecisionName;
}

/** Absent: the question's own choice. */
export interface BenchOptions {
  readonly models: readonly string[];
  readonly against: readonly Against[];
  readonly engines?: readonly string[];
  readonly precisions?: readonly PrecisionName[];
  /** Pixels a side. */
  readonly sizes?: readonly number[];
  readonly steps?: number;
  readonly rounds?: number;
  readonly warmUps?: number;
  readonly threads: number;
  /** As `koala generate --memory` takes them. */
  readonly budgets?: readonly string[];
  /** Folders that `koala quantize` made of the model. */
  readonly quantized: readonly string[];
  readonly prompts?: string;
  readonly scorer?: string;
  readonly count?: number;
}

/** One of our engines that is here. */
export interface OwnEngine {
  readonly name: string;
  readonly precisions: readonly Precision[];
}

export interface Bench {
  readonly o: BenchOptions;
  readonly signal: AbortSignal;
  /** Of the package: bin, models, scripts. */
  readonly root: string;
  /** Where models with random weights, quantized ones and converted ones are kept. */
  readonly cache: string;
  /** Gone at the end. */
  readonly temporary: string;
  /** Where results are kept that a later run of the same question goes on from. */
  readonly out: string;
  readonly python: Python | null;
  readonly engines: readonly OwnEngine[];
  readonly version: string;
  run(command: Command): Promise<Outcome>;
  /** A line that stays. */
  note(line: string): void;
  /** What is going on. */
  stage(text: string): void;
  /** `done` of `total` are over. */
  count(label: string, done: number, total: number): void;
}

/** `koala` with arguments, as a fresh process. */
export const koala = (b: Pick<Bench, "root" | "cache">, ...args: readonly string[]): Command => ({
  program: process.execPath,
  args: [`${b.root}/bin/koala.js`, ...args],
  env: { XDG_CACHE_HOME: `${b.cache}/xdg` }, // compiled programs are kept apart from the user's own
});

/** A program of ours in `programs/`, asked that. */
export function ownProgram(name: string, asked: Readonly<Record<string, unknown>>): Command {
  const { pathname } = new URL(`./programs/${name}.js`, import.meta.url);
  return { program: process.execPath, args: [decodeURIComponent(pathname), JSON.stringify(asked)] };
}
