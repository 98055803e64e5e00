/** The forward and backward half of a training step: a batch and weights in, loss terms and gradients out. */

import { type CompileOptions, compile } from "../engine/compile.ts";
import type { Program } from "../engine/program.ts";
import type { TensorType, Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { allocate } from "../tensor/dtype.ts";
import { size } from "../tensor/shape.ts";
import { type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { type Objective, segmentsOf, sofar } from "./segments.ts";

export interface GradientOptions extends Omit<CompileOptions, "taps"> {
  /** Taps at which to cut the graph into segments that are computed twice, and so need not be kept: time for memory. */
  readonly cuts?: readonly string[];
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
  dispose(): Promise<void>;
}

/**
 * Compiles the losses and their gradients by `weights`: leaves named as in the checkpoint, made by a scope with `fedLeaf`.
 * @throws KoalaError E_GRAPH for a cut that is no tap, or a weight that no loss rests on; E_ENGINE
 */
export async function compileGradients(
  objective: Objective,
  weights: ReadonlyMap<string, Value>,
  { cuts = [], ...o }: GradientOptions,
): Promise<GradientProgram> {
  const programs: Program[] = [];
  for (const { outputs } of segmentsOf(objective, weights, cuts))
    programs.push(await compile(outputs, { ...o, isUnplanned: true }));
  const inputs = Object.fromEntries(
    topological(Object.values(objective.terms)).flatMap((x) =>
      x.op.name === "input" && !weights.has(x.attrs.name as string)
        ? [[x.attrs.name as string, x.type] as const]
        : [],
    ),
  );
  // what passes between segments lies in the same memory at every step
  const between = new Map<string, Tensor>();
  const room = (key: string, type: TensorType): Tensor => {
    const known = between.get(key);
    if (known !== undefined) return known;
    const made = { ...type, data: allocate(type.dtype, size(type.shape)) };
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
      for (const program of programs) await program.dispose();
      between.clear();
    },
  };
}

const TERM = "term.";
const GRADIENT = "gradient.";
const SOFAR = sofar("");
