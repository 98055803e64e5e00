/**
 * Two trainers against each other, as one: at each step the rival moves first, then the network itself, on the same
 * pictures, and each is fed the other's weights. What a checkpoint holds is of both.
 */

import { check } from "../core/assert.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { deriveStore } from "../weights/stores.ts";
import type { StateInfo, StoredState, TrainingState } from "./state.ts";
import type { Batch, StepReport, Trainer } from "./trainer.ts";

/** Under which the rival's tensors lie in a checkpoint. */
const PREFIX = "rival/";

/** Steps, weights and average are those of `own`; the report has the terms of both. */
export function rivals(own: Trainer, rival: Trainer): Trainer {
  return new Rivals(own, rival);
}

class Rivals implements Trainer {
  readonly inputs: Trainer["inputs"];
  readonly #own: Trainer;
  readonly #rival: Trainer;

  constructor(own: Trainer, rival: Trainer) {
    this.#own = own;
    this.#rival = rival;
    const fed = Object.entries({ ...own.inputs, ...rival.inputs });
    this.inputs = Object.fromEntries(
      fed.filter(([name]) => !own.weights.has(name) && !rival.weights.has(name)),
    );
  }

  get step(): number {
    return this.#own.step;
  }
  get weights(): Trainer["weights"] {
    return this.#own.weights;
  }
  get average(): Trainer["average"] {
    return this.#own.average;
  }

  async train(batches: readonly Batch[]): Promise<StepReport> {
    const against = await this.#rival.train(batches.map((batch) => feedsOf(this.#rival, batch, this.#own)));
    const report = await this.#own.train(batches.map((batch) => feedsOf(this.#own, batch, this.#rival)));
    return { ...report, terms: { ...report.terms, ...against.terms } };
  }

  async rest(): Promise<void> {
    await this.#own.rest();
    await this.#rival.rest();
  }

  state(extra: StateInfo["extra"] = {}): TrainingState {
    const theirs = this.#rival.state();
    const own = this.#own.state({ ...extra, rival: theirs.info });
    const tensors = [...theirs.tensors].map(([name, t]) => [PREFIX + name, t] as const);
    return { info: own.info, tensors: new Map([...own.tensors, ...tensors]) };
  }

  async restore({ info, store }: StoredState): Promise<void> {
    const theirs = info.extra.rival as StateInfo | undefined;
    check(theirs !== undefined, "E_WEIGHTS", () => ({
      where: "training state",
      expected: "the state of a run with an adversary",
      got: "that of a run without one",
    }));
    await this.#own.restore({ info, store: part(store, "") });
    await this.#rival.restore({ info: theirs, store: part(store, PREFIX) });
  }

  async dispose(): Promise<void> {
    await this.#own.dispose();
    await this.#rival.dispose();
  }
}

/** What `trainer` reads of a batch, and of the other's weights. */
function feedsOf(trainer: Trainer, batch: Batch, other: Trainer): Batch {
  const names = Object.keys(trainer.inputs);
  return Object.fromEntries(
    names.flatMap((name) => {
      const t = batch[name] ?? other.weights.get(name);
      return t === undefined ? [] : [[name, t] as const]; // what is missing the trainer names
    }),
  );
}

/** The tensors of one of both, under its own names. */
function part(store: TensorStore, prefix: string): TensorStore {
  const names = [...store.tensors.keys()].filter((name) => name.startsWith(PREFIX) === (prefix === PREFIX));
  return deriveStore(
    store,
    new Map(names.map((name) => [name.slice(prefix.length), { from: name }])),
    "training state",
  );
}
