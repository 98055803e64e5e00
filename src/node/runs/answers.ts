/** A teacher's answers in a file: packed one after another, where they lie is remembered. */

import { type FileHandle, open, rm } from "node:fs/promises";
import { viewAs } from "../../tensor/dtype.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { AnswerStore } from "../../train/tasks/turns.ts";
import type { Batch } from "../../train/trainer.ts";
import { inputError, outputError, readRange } from "../files.ts";

/** A tensor in the file. */
interface Place {
  readonly name: string;
  readonly type: Pick<Tensor, "dtype" | "shape">;
  readonly start: number;
  readonly end: number;
}

/** Answers in the file `path`, which is there from the first one until they are cleared. */
export const fileAnswers = (path: string): AnswerStore => new FileAnswers(path);

class FileAnswers implements AnswerStore {
  readonly #path: string;
  readonly #places = new Map<number, readonly Place[]>();
  #file: FileHandle | null = null;
  #end = 0;

  constructor(path: string) {
    this.#path = path;
  }

  async put(index: number, answers: Batch): Promise<void> {
    const places: Place[] = [];
    try {
      this.#file ??= await open(this.#path, "w+");
      for (const [name, { dtype, shape, data }] of Object.entries(answers)) {
        await this.#file.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
        const start = this.#end;
        this.#end += data.byteLength;
        places.push({ name, type: { dtype, shape }, start, end: this.#end });
      }
    } catch (error) {
      throw outputError(this.#path, error);
    }
    this.#places.set(index, places);
  }

  async get(index: number): Promise<Batch | undefined> {
    const places = this.#places.get(index);
    if (places === undefined || this.#file === null) return undefined;
    const answers: Record<string, Tensor> = {};
    try {
      for (const { name, type, start, end } of places)
        answers[name] = {
          ...type,
          data: viewAs(type.dtype, (await readRange(this.#file, start, end)).buffer),
        };
    } catch (error) {
      throw inputError(this.#path, error);
    }
    return answers;
  }

  async clear(): Promise<void> {
    this.#places.clear();
    this.#end = 0;
    const file = this.#file;
    this.#file = null;
    await file?.close();
    await rm(this.#path, { force: true });
  }
}
