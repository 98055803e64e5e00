/**
 * A training run's machine: weights, gradients, optimizer and average in memory, and the step that moves them. Forward and
 * backward, then sums over batches, then the look at losses and gradient norm, and only then the updates in place: a step
 * that fails has changed nothing.
 */

import { check } from "../core/assert.ts";
import { type ErrorData, KoalaError } from "../core/errors.ts";
import { firstNonFinite } from "../engine/non-finite.ts";
import type { TensorType, Value } from "../graph/op.ts";
import { add, input, square, sum } from "../ops/index.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { castFloat, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { type Arena, layOut, makeArena } from "./arena.ts";
import { ditherOf } from "./dither.ts";
import { type AverageDtype, averageOf, emaDecay, emaUpdate } from "./ema.ts";
import { compileFlat, type FlatProgram } from "./flat.ts";
import { type RunningOptimizer, startOptimizer } from "./optim/run.ts";
import type { Optimizer } from "./optim/transform.ts";
import { type Communicator, single, thrownByAll, together } from "./parallel.ts";
import type { Rate } from "./schedule-lr.ts";
import { Scratch } from "./scratch.ts";
import type { Objective } from "./segments.ts";
import { restoreTensors, type StateInfo, type StoredState, type TrainingState } from "./state.ts";
import { type GradientOptions, type GradientProgram, gradientProgram } from "./step.ts";

/** `precision` is that of forward and backward; what moves weights is computed, and everything kept, in f32. */
export interface TrainerOptions extends GradientOptions {
  readonly optimizer: Optimizer;
  readonly rate: Rate;
  /** The global norm above which gradients are scaled down to it; absent: none. */
  readonly maxNorm?: number;
  /** Highest decay of the average of the weights; absent: no average is kept. diffusers' scripts: 0.9999. */
  readonly emaCap?: number;
  /** How the average is kept. Default float32; one in float16 is not for graphs that read it. */
  readonly emaDtype?: AverageDtype;
  /** A loss of so many times its running mean ends the run; default 100, Infinity: none does that is finite. */
  readonly divergence?: number;
  /** The other processes that train this model, each on batches of its own: losses and gradients are their means. */
  readonly communicator?: Communicator;
}

/** Inputs of the graph by name. */
export type Batch = Readonly<Record<string, Tensor>>;

export interface StepReport {
  /** Counted from 1. */
  readonly step: number;
  /** The weighted sum of the terms. */
  readonly loss: number;
  readonly terms: Readonly<Record<string, number>>;
  /** Of all gradients together, before clipping. */
  readonly gradientNorm: number;
  readonly rate: number;
}

export interface Trainer {
  /** What a batch must hold. */
  readonly inputs: Readonly<Record<string, TensorType>>;
  /** Steps done. */
  readonly step: number;
  /** By checkpoint name; views that the next step overwrites. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** The moving average, where one is kept. */
  readonly average: ReadonlyMap<string, Tensor> | null;
  /**
   * One step on the mean of the batches' losses; more than one batch is gradient accumulation. Every process of a
   * communicator gives the same number of batches.
   * @throws KoalaError E_NAN naming step, term and tap when a loss or gradient is not finite, or the loss has run away:
   *   the weights are then those before the step. All processes of a communicator throw it.
   */
  train(batches: readonly Batch[]): Promise<StepReport>;
  /** Frees what only a step needs: gradients, and the compiled forward and backward. The next step makes both anew. */
  rest(): Promise<void>;
  /** What a checkpoint holds; tensors are views: write them before the next step. */
  state(extra?: StateInfo["extra"]): TrainingState;
  /** Goes back to a saved state. @throws KoalaError E_WEIGHTS when it is of another model or optimizer */
  restore(saved: StoredState): Promise<void>;
  dispose(): Promise<void>;
}

/** Of the running mean of the loss: it forgets in about 50 steps. */
const MEAN_DECAY = 0.98;

/** PyTorch's `clip_grad_norm_` adds it to the norm that it divides by. */
const NORM_EPS = 1e-6;

const squares = (piece: number): Record<string, Value> => ({
  squares: sum(square(input("gradient", { shape: [piece] })), [0]),
});

const accumulated = (piece: number): Record<string, Value> => ({
  "new.sum": add(input("sum", { shape: [piece] }), input("gradient", { shape: [piece] })),
});

/**
 * A trainer of `weights`, the leaves of the graph that change, which begin as `initial` has them.
 * @throws KoalaError E_GRAPH, E_WEIGHTS when `initial` lacks a weight, E_ENGINE
 */
export async function createTrainer(
  objective: Objective,
  weights: ReadonlyMap<string, Value>,
  initial: TensorStore,
  o: TrainerOptions,
): Promise<Trainer> {
  const layout = layOut([...weights].map(([name, { shape }]) => [name, shape] as const));
  const scratch = new Scratch();
  const arena = { weights: makeArena(layout), gradients: makeArena(layout, { scratch }), scratch };
  await fillFrom(initial, arena.weights);
  const { emaDtype = "float32" } = o;
  const average = o.emaCap === undefined ? null : makeArena(layout, { dtype: emaDtype });
  if (average !== null) copyWeights(arena.weights, average);

  const made: Owned[] = [];
  const own = async <T extends Owned>(thing: Promise<T>): Promise<T> => {
    const there = await thing;
    made.push(there);
    return there;
  };
  try {
    const gradients = gradientProgram(objective, weights, o);
    made.push(gradients);
    const optimizer = await own(startOptimizer(o.optimizer, layout, o));
    const norm = await own(compileFlat(layout, squares, o));
    const ema =
      average === null ? null : await own(compileFlat(layout, (piece) => emaUpdate(piece, emaDtype), o));
    return new Machine(objective, { ...arena, average }, { gradients, optimizer, norm, ema }, o, made);
  } catch (error) {
    for (const thing of made) await thing.dispose();
    throw error;
  }
}

interface Owned {
  dispose(): Promise<void>;
}

interface Arenas {
  readonly weights: Arena;
  readonly gradients: Arena;
  /** What the gradients lie in, and their sums. */
  readonly scratch: Scratch;
  readonly average: Arena | null;
}

interface Programs {
  readonly gradients: GradientProgram;
  readonly optimizer: RunningOptimizer;
  readonly norm: FlatProgram;
  readonly ema: FlatProgram | null;
}

class Machine implements Trainer {
  step = 0;
  readonly inputs: Trainer["inputs"];
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly average: ReadonlyMap<string, Tensor> | null;
  /** Of those weights whose average the graph reads. */
  readonly #averages: Batch;
  #meanLoss: number | null = null;
  /** Made when a step first has several batches. */
  #sum: { readonly arena: Arena; readonly program: FlatProgram } | null = null;
  readonly #objective: Objective;
  readonly #arenas: Arenas;
  readonly #programs: Programs;
  readonly #o: TrainerOptions;
  readonly #owned: Owned[];

  constructor(objective: Objective, arenas: Arenas, programs: Programs, o: TrainerOptions, owned: Owned[]) {
    this.#objective = objective;
    this.#arenas = arenas;
    this.#programs = programs;
    this.#o = o;
    this.#owned = owned;
    this.weights = arenas.weights.tensors;
    this.average = arenas.average?.tensors ?? null;
    const averages = [...(this.average ?? [])].map(([name, t]) => [averageOf(name), t] as const);
    const { inputs } = programs.gradients;
    this.#averages = Object.fromEntries(averages.filter(([name]) => inputs[name] !== undefined));
    this.inputs = Object.fromEntries(
      Object.entries(inputs).filter(([name]) => this.#averages[name] === undefined),
    );
  }

  async train(batches: readonly Batch[]): Promise<StepReport> {
    check(batches.length > 0, "E_GRAPH", () => ({
      where: "train",
      expected: "at least one batch",
      got: "none",
    }));
    this.#arenas.scratch.renew();
    const step = this.step + 1;
    const { terms, gradients, count } = await this.#losses(step, batches);
    const loss = Object.entries(terms).reduce(
      (total, [name, x]) => total + (this.#objective.factors?.[name] ?? 1) * x,
      0,
    );
    const gradientNorm = (await this.#norm(gradients)) / count;
    this.#checkFinite(step, gradientNorm, gradients);
    this.#checkDivergence(step, loss, terms);

    const { maxNorm } = this.#o;
    const clip = maxNorm === undefined ? 1 : Math.min(1, maxNorm / (gradientNorm + NORM_EPS));
    const rate = this.#o.rate(step);
    const { weights, average } = this.#arenas;
    await this.#programs.optimizer.update({ weights, gradients, step, rate, scale: clip / count });
    if (average !== null) {
      const share = 1 - emaDecay(step, this.#o.emaCap ?? 0);
      await this.#programs.ema?.run({ average, weight: weights }, { rate: share, dither: ditherOf(step) });
    }
    this.step = step;
    this.#meanLoss = this.#meanLoss === null ? loss : MEAN_DECAY * this.#meanLoss + (1 - MEAN_DECAY) * loss;
    return { step, loss, terms, gradientNorm, rate };
  }

  /** Mean terms, and the sum of the gradients of `count` batches, those of other processes included. */
  async #losses(
    step: number,
    batches: readonly Batch[],
  ): Promise<{ terms: Record<string, number>; gradients: Arena; count: number }> {
    const communicator = this.#o.communicator ?? single;
    const names = Object.keys(this.#objective.terms);
    const totals = new Float32Array(names.length);
    const gradients = await together(communicator, async () => {
      const sum = batches.length > 1 ? await this.#summing(this.#arenas.gradients) : null;
      for (const batch of batches) {
        const feeds = { ...batch, ...this.#averages };
        const own = this.#arenas.gradients;
        const values = await this.#programs.gradients.run(feeds, this.weights, own.tensors);
        for (const [i, name] of names.entries()) {
          const value = values[name] ?? Number.NaN;
          if (!Number.isFinite(value)) throw await this.#notFinite(step, name, value, feeds);
          totals[i] = (totals[i] ?? 0) + value;
        }
        await sum?.program.run({ sum: sum.arena, gradient: own });
      }
      return sum?.arena ?? this.#arenas.gradients;
    });
    if (communicator.size > 1)
      await communicator.allReduceSum([totals, ...(gradients.slabs as readonly Float32Array[])]);
    const count = batches.length * communicator.size;
    const terms = Object.fromEntries(names.map((name, i) => [name, (totals[i] ?? 0) / count]));
    return { terms, gradients, count };
  }

  async #summing(gradients: Arena): Promise<{ arena: Arena; program: FlatProgram }> {
    if (this.#sum === null) {
      const arena = makeArena(gradients.layout, { scratch: this.#arenas.scratch });
      const program = await compileFlat(gradients.layout, accumulated, this.#o);
      this.#owned.push(program);
      this.#sum = { arena, program };
    }
    for (const slab of this.#sum.arena.slabs) slab.fill(0 as never);
    return this.#sum;
  }

  async #norm(gradients: Arena): Promise<number> {
    const sums = await this.#programs.norm.run({ gradient: gradients });
    return Math.sqrt(
      sums.reduce((total, { squares: s }) => total + (s === undefined ? 0 : (toFloat32(s)[0] ?? 0)), 0),
    );
  }

  async #notFinite(step: number, term: string, value: number, batch: Batch): Promise<KoalaError> {
    const feeds = { ...batch, ...Object.fromEntries(this.weights) };
    const { terms } = this.#objective.sized?.(batch) ?? this.#objective;
    const tap = await firstNonFinite(terms, feeds, this.#o);
    return new KoalaError("E_NAN", {
      where: `step ${step}, loss term ${term}`,
      expected: "a finite number",
      got: `${value}${tap === null ? "" : `, first at ${tap}`}`,
      hint: hintAt(step),
    });
  }

  #checkFinite(step: number, norm: number, gradients: Arena): void {
    if (Number.isFinite(norm)) return;
    const first = [...gradients.tensors].find(([, t]) => !toFloat32(t).every(Number.isFinite));
    throw numbersFailed({
      where: `step ${step}, gradient of ${first?.[0] ?? "all weights"}`,
      expected: "a finite norm",
      got: `${norm}`,
      hint: hintAt(step),
    });
  }

  #checkDivergence(step: number, loss: number, terms: Readonly<Record<string, number>>): void {
    const limit = (this.#o.divergence ?? 100) * (this.#meanLoss ?? Number.POSITIVE_INFINITY);
    if (!(this.#meanLoss !== null && this.#meanLoss > 0 && loss > limit)) return;
    const part = ([name, x]: readonly [string, number]): number =>
      Math.abs((this.#objective.factors?.[name] ?? 1) * x);
    const worst = Object.entries(terms).reduce((a, b) => (part(b) > part(a) ? b : a));
    throw numbersFailed({
      where: `step ${step}, loss term ${worst[0]}`,
      expected: `a loss of at most ${limit.toPrecision(3)}, from the steps before`,
      got: loss.toPrecision(3),
      hint: hintAt(step),
    });
  }

  async rest(): Promise<void> {
    await this.#programs.gradients.dispose();
    this.#arenas.scratch.release();
  }

  state(extra: StateInfo["extra"] = {}): TrainingState {
    const info = { step: this.step, optimizer: this.#o.optimizer.name, meanLoss: this.#meanLoss, extra };
    return { info, tensors: this.#tensors() };
  }

  #tensors(): Map<string, Tensor> {
    const under = (folder: string, tensors: ReadonlyMap<string, Tensor>): [string, Tensor][] =>
      [...tensors].map(([name, t]) => [`${folder}/${name}`, t]);
    return new Map([
      ...under("weights", this.weights),
      ...under("average", this.average ?? new Map()),
      ...under("optimizer", this.#programs.optimizer.state),
    ]);
  }

  async restore({ info, store }: StoredState): Promise<void> {
    check(info.optimizer === this.#o.optimizer.name, "E_WEIGHTS", () => ({
      where: "training state",
      expected: `the state of the optimizer ${this.#o.optimizer.name}`,
      got: `that of ${info.optimizer}`,
    }));
    await restoreTensors(store, this.#tensors(), "training state");
    this.step = info.step;
    this.#meanLoss = info.meanLoss;
  }

  async dispose(): Promise<void> {
    for (const thing of this.#owned.splice(0)) await thing.dispose();
  }
}

/** What may help. The weights of the first step are those that were given, whatever the rate is. */
const hintAt = (step: number): string =>
  step === 1
    ? "No step was taken yet: look at the weights that the run begins with, and at the data."
    : "A run with a lower learning rate may not get there.";

/** Of numbers that are summed over all processes, which all see alike. */
const numbersFailed = (data: ErrorData): KoalaError => thrownByAll(new KoalaError("E_NAN", data));

/** Copies the weights of `store`, whatever float type they have there, into an arena. */
async function fillFrom(store: TensorStore, arena: Arena): Promise<void> {
  const wrong = [...arena.tensors].flatMap(([name, { shape }]) => {
    const stored = store.tensors.get(name);
    if (stored === undefined) return [`${name} missing`];
    return stored.shape.join() === shape.join() ? [] : [`${name} [${stored.shape.join(", ")}]`];
  });
  check(wrong.length === 0, "E_WEIGHTS", () => ({
    where: "weights",
    expected: `the ${arena.tensors.size} tensors that are trained, in their shapes`,
    got: `${wrong.slice(0, 8).join(", ")}${wrong.length > 8 ? ` and ${wrong.length - 8} more` : ""}`,
  }));
  for (const [name, t] of arena.tensors) toFloat32(t).set(toFloat32(await store.read(name)));
}

function copyWeights(from: Arena, to: Arena): void {
  for (const [name, t] of to.tensors)
    (t.data as Uint8Array).set(
      castFloat(from.tensors.get(name) as Tensor, to.dtype as AverageDtype).data as Uint8Array,
    );
}
