/**
 * A teacher and a student in turns: the teacher answers for some batches ahead and is freed, and the student learns from
 * what was kept of it in float16.
 */

import { compile } from "../../engine/compile.ts";
import type { Program } from "../../engine/program.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import type { Precision } from "../../runtime/session.ts";
import { castFloat, type Tensor } from "../../tensor/tensor.ts";
import type { FeaturePair } from "../distill/features.ts";
import { targetName, teacherTaps } from "../distill/sides.ts";
import type { TrainEngine } from "../flat.ts";
import { buildNetwork, type Network } from "../networks/network.ts";
import type { Batch } from "../trainer.ts";
import { type NoisedOptions, noisedFeeds, sizeOfBatch } from "./noised.ts";

/** Where a teacher's answers wait for the student, by micro-batch. */
export interface AnswerStore {
  /** Keeps answers to a micro-batch that has none yet. @throws KoalaError E_DISK, E_OUTPUT */
  put(index: number, answers: Batch): Promise<void>;
  /** @throws KoalaError E_FILE */
  get(index: number): Promise<Batch | undefined>;
  /** Forgets all, and leaves nothing behind; new answers may follow. */
  clear(): Promise<void>;
}

/** Answers in memory. */
export function memoryAnswers(): AnswerStore {
  const kept = new Map<number, Batch>();
  return {
    put: async (index, answers) => void kept.set(index, answers),
    get: async (index) => kept.get(index),
    clear: async () => kept.clear(),
  };
}

/**
 * Micro-batches that the teacher answers for at a time, where at least `turn` are asked for: those of whole steps, since a
 * step that began with some of them would hold them while the teacher is there again.
 */
export const turnLength = (turn: number, accumulate: number): number =>
  accumulate * Math.ceil(turn / accumulate);

export interface TurnsOptions extends TrainEngine {
  /** In which the teacher computes. Default `f32`. */
  readonly precision?: Precision;
  readonly teacher: Network;
  readonly size: DenoiserSize;
  readonly pairs: readonly FeaturePair[];
  /** Whether the prediction is asked for, beside the features of `pairs`. */
  readonly needsOutput: boolean;
  readonly data: NoisedOptions;
  /** Micro-batches between two turns of the teacher. */
  readonly length: number;
  /** Micro-batches of the whole run: of what comes after them nobody will ask. */
  readonly end: number;
  readonly answers: AnswerStore;
}

/** The teacher's answers to batches ahead. */
export class Turns {
  readonly #o: TurnsOptions;

  constructor(o: TurnsOptions) {
    this.#o = o;
  }

  forget(): Promise<void> {
    return this.#o.answers.clear();
  }

  /** To micro-batch `index`; where they are not kept the student rests, and the teacher runs for it and those that follow. */
  async answers(index: number, rest: () => Promise<void> = async () => {}): Promise<Batch> {
    const { answers } = this.#o;
    const known = await answers.get(index);
    if (known !== undefined) return known;
    await answers.clear();
    await rest();
    await this.#answerFrom(index);
    return (await answers.get(index)) as Batch;
  }

  async #answerFrom(index: number): Promise<void> {
    const { data, size, end } = this.#o;
    const length = Math.max(1, Math.min(this.#o.length, end - index));
    const ahead = Array.from({ length }, (_, i) => index + i);
    if (!data.hasSizes) return this.#askAll(size, ahead);
    const sizes = new Map<string, { readonly at: DenoiserSize; readonly indices: number[] }>();
    for (const i of ahead) {
      const at = sizeOfBatch(await noisedFeeds(i, data), size);
      const key = `${at.height}x${at.width}`;
      const same = sizes.get(key) ?? { at, indices: [] };
      same.indices.push(i);
      sizes.set(key, same);
    }
    for (const { at, indices } of sizes.values()) await this.#askAll(at, indices);
  }

  /** Asks the teacher about batches of one size, so that it is in memory once; one batch is there at a time. */
  async #askAll(size: DenoiserSize, indices: readonly number[]): Promise<void> {
    const { teacher, pairs, data, answers } = this.#o;
    const taps = teacherTaps(pairs);
    const { outputs } = buildNetwork(teacher, size);
    const program = await compile(outputs, { ...this.#o, store: teacher.store, taps });
    try {
      for (const i of indices)
        await answers.put(i, await this.#ask(program, await noisedFeeds(i, data), taps));
    } finally {
      await program.dispose();
    }
  }

  async #ask(program: Program, feeds: Batch, taps: readonly string[]): Promise<Batch> {
    const own = Object.keys(program.inputs).map((name) => [name, feeds[name] as Tensor]);
    const said = await program.run(Object.fromEntries(own));
    const keep = (t: Tensor | undefined): Tensor => castFloat(t as Tensor, "float16");
    return {
      ...(this.#o.needsOutput ? { [targetName()]: keep(said.prediction) } : {}),
      ...Object.fromEntries(taps.map((tap) => [targetName(tap), keep(said[tap])])),
    };
  }
}
