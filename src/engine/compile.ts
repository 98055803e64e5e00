/** Graph → passes → ONNX → session. */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { Value } from "../graph/op.ts";
import { tapsOf } from "../graph/order.ts";
import { verify } from "../graph/verify.ts";
import { lower } from "../onnx/lower.ts";
import { param } from "../ops/index.ts";
import { inference } from "../passes/index.ts";
import { type Adapters, adapt } from "../passes/lora.ts";
import { quantize } from "../passes/quantize.ts";
import type { Engine, Precision } from "../runtime/session.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { type Program, program } from "./program.ts";

export interface CompileOptions {
  readonly engine: Engine;
  /** Where the graph's weights lie. */
  readonly store: TensorStore;
  /** Names of taps to have as outputs too. */
  readonly taps?: readonly string[];
  /** Compute threads; absent: one a physical core. */
  readonly threads?: number;
  /** See `SessionOptions`: less memory for graphs whose values live long. */
  readonly isUnplanned?: boolean;
  /** See `SessionOptions`: false for graphs of thousands of elementwise operations. */
  readonly isFused?: boolean;
  /** See `SessionOptions`: false for one of many short programs. */
  readonly isBusy?: boolean;
  /** Default `f32`. */
  readonly precision?: Precision;
  /** See `SessionOptions`: a folder for compiled programs. */
  readonly cache?: string;
  /** See `SessionOptions`. */
  warn?(message: string): void;
}

/**
 * A program whose outputs are `outputs` and the taps that `o` names.
 * @throws KoalaError E_GRAPH for an unknown tap or two inputs of one name, E_WEIGHTS for weights that do not fit, E_ENGINE,
 * also for a precision that the engine has not
 */
export async function compile(outputs: Readonly<Record<string, Value>>, o: CompileOptions): Promise<Program> {
  const precision = o.precision ?? "f32";
  checkPrecision(o.engine, precision);
  const wanted = adapt({ ...outputs, ...tapped(outputs, o.taps ?? []) }, adaptersOf(o.store));
  const { recipe } = o.store;
  const all = inference(recipe === undefined ? wanted : quantize(wanted, recipe, o.engine.target));
  verify(Object.values(all)); // after the passes: they have made one leaf of those that are alike
  const model = lower(all, { target: o.engine.target, weights: o.store.tensors });
  const weights = model.weights.flatMap((name) => {
    const stored = o.store.tensors.get(name);
    return stored === undefined ? [] : [{ name, stored }];
  });
  const session = await o.engine.load(
    { ...model, weights, store: o.store },
    {
      precision,
      ...(o.threads === undefined ? {} : { threads: o.threads }),
      ...(o.cache === undefined ? {} : { cache: o.cache }),
      ...(o.warn === undefined ? {} : { warn: o.warn }),
      ...(o.isUnplanned === undefined ? {} : { isUnplanned: o.isUnplanned }),
      ...(o.isFused === undefined ? {} : { isFused: o.isFused }),
      ...(o.isBusy === undefined ? {} : { isBusy: o.isBusy }),
    },
  );
  return program(model.inputs, model.outputs, session);
}

/** The store's low-rank additions as values of a graph. */
function adaptersOf({ adapters, tensors }: TensorStore): Adapters {
  const leaf = (name: string): Value => param(name, tensors.get(name)?.shape ?? []);
  const built = [...(adapters ?? [])].map(
    ([name, all]) =>
      [name, all.map(({ down, up, scale }) => ({ down: leaf(down), up: leaf(up), scale }))] as const,
  );
  return new Map(built);
}

export const BF16_HINT =
  "bf16 needs OpenVINO and a CPU that has it: koala engines says whether both are here.";

/** @throws KoalaError E_ENGINE for a precision that the engine has not */
export function checkPrecision({ name, precisions = ["f32"] }: Engine, precision: Precision): void {
  check(precisions.includes(precision), "E_ENGINE", () => ({
    where: `precision ${precision}`,
    expected: `one that ${name} computes in here: ${precisions.join(", ")}`,
    got: precision,
    hint: BF16_HINT,
  }));
}

export function tapped(
  outputs: Readonly<Record<string, Value>>,
  names: readonly string[],
): Record<string, Value> {
  if (names.length === 0) return {};
  const taps = tapsOf(Object.values(outputs));
  return Object.fromEntries(
    names.map((name) => {
      const value = taps.get(name);
      check(value !== undefined, "E_GRAPH", () => {
        const near = nearest(name, taps.keys(), 3);
        return {
          where: `tap ${name}`,
          expected: `one of the ${taps.size} taps of the graph`,
          got: "another name",
          ...(near.length === 0 ? {} : { hint: `Did you mean ${near.join(" or ")}?` }),
        };
      });
      check(outputs[name] === undefined, "E_GRAPH", () => ({
        where: `tap ${name}`,
        expected: "a name that no output has",
        got: "one that is taken",
      }));
      return [name, value];
    }),
  );
}
