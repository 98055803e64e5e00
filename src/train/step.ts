/** The forward and backward half of a training step: a batch and weights in, loss terms and gradients out. */

import { type CompileOptions, compile } from "../engine/compile.ts";
import type { Program } from "../engine/program.ts";
import type { TensorType, Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { size } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { Scratch } from "./scratch.ts";
import { type Objective, segmentsOf, sofar } from "./segments.ts";

export interface GradientOptions extends Omit<CompileOptions, "taps"> {
  /** Taps at which to cut the graph into segments that are computed twice, and so need not be kept: time for memory. */
  readonly cuts?: readonly string[];
  /** Of an objective of several sizes: how many programs stay in memory. Default 1. */
  readonly programs?: number;
}

type Tensors = ReadonlyMap<string, Tensor>;

export interface GradientProgram {
  /** What a batch must hold: every input of the graph that is no weight. */
  readonly inputs: Readonly<Record<string, TensorType>>;
  /**
   * The value of every loss term. The gradients by `weights` are written into `gradients`; weights are only read.
   * @throws KoalaError E_GRAPH when the batch does not fit, E_ENGINE
   */
  run(
    batch: Readonly<Record<string, Tensor>>,
    weights: Tensors,
    gradients: Tensors,
  ): Promise<Readonly<Record<string, number>>>;
  /** Frees all that was compiled; a later run compiles it again. */
  dispose(): Promise<void>;
}

/**
 * The losses and their gradients by `weights`: leaves named as in the checkpoint, made by a scope with `fedLeaf`. What a batch
 * needs is compiled when it comes.
 * @throws KoalaError E_GRAPH for a cut that is no tap, or a weight that no loss rests on
 */
export function gradientProgram(
  objective: Objective,
  weights: ReadonlyMap<string, Value>,
  o: GradientOptions,
): GradientProgram {
  segmentsOf(objective, weights, o.cuts); // which refuses what does not fit, before the first batch
  return new Gradients(objective, weights, o);
}

/** What a batch must hold for `objective`, at its size. */
const inputsOf = (
  { terms }: Objective,
  weights: ReadonlyMap<string, Value>,
): Readonly<Record<string, TensorType>> =>
  Object.fromEntries(
    topological(Object.values(terms)).flatMap((x) =>
      x.op.name === "input" && !weights.has(x.attrs.name as string)
        ? [[x.attrs.name as string, x.type] as const]
        : [],
    ),
  );

/**
 * A program for each size of batches, compiled when a batch first has it. Those used last stay; an older one is freed, and
 * compiled again when its size comes back.
 */
class Gradients implements GradientProgram {
  readonly inputs: GradientProgram["inputs"];
  readonly #objective: Objective;
  readonly #weights: ReadonlyMap<string, Value>;
  readonly #o: GradientOptions;
  /** The one used last is the last. */
  readonly #kept = new Map<string, GradientProgram>();

  constructor(objective: Objective, weights: ReadonlyMap<string, Value>, o: GradientOptions) {
    this.inputs = inputsOf(objective, weights);
    this.#objective = objective;
    this.#weights = weights;
    this.#o = o;
  }

  async run(...[batch, ...rest]: Parameters<GradientProgram["run"]>): ReturnType<GradientProgram["run"]> {
    const key = this.#objective.sized === undefined ? "" : sizesIn(batch);
    const program = this.#kept.get(key) ?? (await this.#compile(batch));
    this.#kept.delete(key);
    this.#kept.set(key, program);
    return program.run(batch, ...rest);
  }

  async #compile(batch: Readonly<Record<string, Tensor>>): Promise<GradientProgram> {
    const most = this.#o.programs ?? 1;
    for (const [oldest, program] of [...this.#kept].slice(0, Math.max(0, this.#kept.size + 1 - most))) {
      this.#kept.delete(oldest);
      await program.dispose();
    }
    return compileAtOneSize(this.#objective.sized?.(batch) ?? this.#objective, this.#weights, this.#o);
  }

  async dispose(): Promise<void> {
    for (const program of this.#kept.values()) await program.dispose();
    this.#kept.clear();
  }
}

const sizesIn = (batch: Readonly<Record<string, Tensor>>): string =>
  Object.keys(batch)
    .sort()
    .map((name) => `${name} ${batch[name]?.shape.join("x")}`)
    .join();

async function compileAtOneSize(
  objective: Objective,
  weights: ReadonlyMap<string, Value>,
  { cuts = [], programs: _, ...o }: GradientOptions,
): Promise<GradientProgram> {
  const programs: Program[] = [];
  const free = async (): Promise<void> => {
    for (const program of programs.splice(0)) await program.dispose();
  };
  try {
    for (const { outputs } of segmentsOf(objective, weights, cuts))
      programs.push(await compile(outputs, { ...o, isUnplanned: true, isFused: false }));
  } catch (error) {
    await free();
    throw error;
  }
  const inputs = inputsOf(objective, weights);
  // what passes between segments lies in the same memory at every step
  const between = new Map<string, Tensor>();
  const scratch = new Scratch();
  const room = (key: string, type: TensorType): Tensor => {
    const known = between.get(key);
    if (known !== undefined) return known;
    const made = { ...type, data: scratch.allocate(type.dtype, size(type.shape)) };
    between.set(key, made);
    return made;
  };

  return {
    inputs,
    async run(batch, weightTensors, gradients) {
      const known = new Map<string, Tensor>([...weightTensors, ...Object.entries(batch)]);
      const terms: Record<string, number> = {};
      for (const [i, program] of programs.entries()) {
        const feeds: Record<string, Tensor> = {};
        for (const name of Object.keys(program.inputs)) {
          const t = known.get(name.startsWith(SOFAR) ? name.slice(SOFAR.length) : name);
          if (t !== undefined) feeds[name] = t;
        }
        for (const name of Object.keys(batch))
          if (inputs[name] === undefined) feeds[name] = batch[name] as Tensor; // so that the program refuses it by name
        const into: Record<string, Tensor> = {};
        for (const [name, type] of Object.entries(program.outputs)) {
          const gradient = name.startsWith(GRADIENT) ? gradients.get(name.slice(GRADIENT.length)) : undefined;
          const isSum = program.inputs[sofar(name)] !== undefined; // never written over its own operand
          into[name] = gradient === undefined || isSum ? room(isSum ? `${name} ${i}` : name, type) : gradient;
        }
        const made = await program.run(feeds, into);
        for (const [name, t] of Object.entries(made)) {
          if (name.startsWith(TERM)) terms[name.slice(TERM.length)] = toFloat32(t)[0] ?? Number.NaN;
          else known.set(name, t);
        }
      }
      for (const [name, gradient] of gradients) {
        const t = known.get(`${GRADIENT}${name}`);
        if (t !== undefined && t !== gradient) toFloat32(gradient).set(toFloat32(t));
      }
      return terms;
    },
    async dispose() {
      await free();
      scratch.release();
    },
  };
}

const TERM = "term.";
const GRADIENT = "gradient.";
const SOFAR = sofar("");
