/** Reverse mode on the graph: the gradient of a scalar is more graph. */

import { check } from "../core/assert.ts";
import { isComposite, labelled, type Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { add, concat, constant } from "../ops/index.ts";
import { show } from "../tensor/shape.ts";

/**
 * d`loss`/d`wrt[i]`, each of the shape of `wrt[i]`.
 * @throws KoalaError E_GRAPH when the loss is no scalar, or some `wrt` has no influence on it that can be differentiated
 */
export function grad(loss: Value, wrt: readonly Value[]): Value[] {
  check(loss.shape.length === 0, "E_GRAPH", () => ({
    where: "grad",
    expected: "a loss of rank 0",
    got: show(loss.shape),
  }));
  const cotangents = pullback([[loss, constant([], [1])]], wrt);
  return wrt.map((value, i) => {
    const cotangent = cotangents[i];
    check(cotangent != null, "E_GRAPH", () => ({
      where: (value.attrs.name as string | undefined) ?? (value.label === "" ? value.op.name : value.label),
      expected: "a differentiable path to the loss",
      got: "none",
    }));
    return cotangent;
  });
}

/**
 * The cotangents of `wrt`, each of its shape, given those of some outputs: pairs of an output and its cotangent, every
 * output once. Null where none flows. Does not go behind values in `stop`.
 */
export function pullback(
  outputs: readonly (readonly [output: Value, cotangent: Value])[],
  wrt: readonly Value[],
  stop: ReadonlySet<Value> = new Set(),
): (Value | null)[] {
  const order = topological(outputs.map(([output]) => output));
  const depends = new Set<Value>(wrt);
  for (const value of order)
    if (value.inputs.some((x) => depends.has(x)) && !stop.has(value)) depends.add(value);

  const cotangents = new Map<Value, Value>(outputs);
  for (const value of order.reverse()) {
    const cotangent = cotangents.get(value);
    if (cotangent === undefined || !depends.has(value) || stop.has(value)) continue;
    const parts = labelled(value.label, () => vjpOf(value, cotangent));
    for (const [i, input] of value.inputs.entries()) {
      const part = parts[i];
      if (part == null || !depends.has(input)) continue;
      const sofar = cotangents.get(input);
      cotangents.set(input, sofar === undefined ? part : plus(sofar, part));
    }
  }
  return wrt.map((value) => cotangents.get(value) ?? null);
}

/** a + b; of the zero-padded cotangents of two neighbouring slices, their joining, which adds no zeros. */
function plus(a: Value, b: Value): Value {
  const [first, second] = startOf(a) < startOf(b) ? [a, b] : [b, a];
  const axis = a.shape.findIndex((length, i) => first.inputs[0]?.shape[i] !== length);
  const isJoint =
    [a, b].every((x) => x.op.name === "pad") &&
    [first, second].every((x) => x.shape.every((d, i) => (x.inputs[0]?.shape[i] === d) === (i !== axis))) &&
    startOf(first) === 0 &&
    startOf(second) === first.inputs[0]?.shape[axis] &&
    startOf(second) + (second.inputs[0]?.shape[axis] ?? 0) === a.shape[axis];
  return isJoint ? concat([first.inputs[0] as Value, second.inputs[0] as Value], axis) : add(a, b);
}

/** Of a pad along one axis, where what was padded begins. */
const startOf = (x: Value): number =>
  x.op.name === "pad" ? (x.attrs.before as readonly number[]).reduce((sum, n) => sum + n, 0) : 0;

/** One cotangent an operand; a composite without a rule of its own is differentiated through its expansion. */
function vjpOf(value: Value, g: Value): readonly (Value | null)[] {
  const { op, inputs, attrs } = value;
  if (!isComposite(op)) return op.vjp(g, value, attrs);
  if (op.vjp !== undefined) return op.vjp(g, value, attrs);
  const distinct = [...new Set(inputs)];
  const cotangents = pullback([[op.expand(inputs, attrs), g]], distinct, new Set(distinct));
  // an operand that is used twice gets its whole cotangent once
  return inputs.map((x, i) => (inputs.indexOf(x) === i ? (cotangents[distinct.indexOf(x)] ?? null) : null));
}
