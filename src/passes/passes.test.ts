import { expect, test } from "vitest";
import { interpret, type Leaves } from "../graph/interpret.ts";
import { labelled, type NdArray, type Value } from "../graph/op.ts";
import { topological } from "../graph/order.ts";
import { verify } from "../graph/verify.ts";
import {
  add,
  constant,
  div,
  exp,
  gelu,
  input,
  linear,
  maximum,
  mul,
  param,
  reshape,
  silu,
  sqrt,
  tap,
} from "../ops/index.ts";
import { fold } from "./fold.ts";
import { hoist } from "./hoist.ts";
import { inference } from "./index.ts";
import { share } from "./share.ts";
import { stageGraphs } from "./stages.ts";

const array = (shape: number[], ...data: number[]): NdArray => ({ shape, data: Float64Array.from(data) });
const leaves: Leaves = new Map([
  ["x", array([1, 2], 0.5, -1)],
  ["text", array([1, 2], 2, 3)],
  ["w", array([2, 2], 1, -2, 0.5, 4)],
]);
const x = input("x", { shape: [1, 2] });
const text = input("text", { shape: [1, 2] });
const w = param("w", [2, 2]);

const count = (outputs: Readonly<Record<string, Value>>): number =>
  topological(Object.values(outputs)).length;
const values = (outputs: Readonly<Record<string, Value>>, given: Leaves = leaves): number[][] =>
  interpret(Object.values(outputs), given).map(({ data }) => [...data]);

test("sharing keeps one of equal nodes and every output's values", () => {
  const branch = (): Value => silu(linear(x, w, null));
  const before = { y: add(branch(), mul(branch(), branch())), z: branch() };
  const after = share(before);
  verify(Object.values(after));
  expect(values(after)).toEqual(values(before));
  expect(count(before)).toBe(12);
  expect(count(after)).toBe(6); // x, w, linear, silu, mul, add
});

test("sharing keeps taps of different names apart", () => {
  const { y, z } = share({ y: tap("a", exp(x)), z: tap("b", exp(x)) });
  expect([y?.attrs.name, z?.attrs.name]).toEqual(["a", "b"]);
  expect(y?.inputs[0]).toBe(z?.inputs[0]);
});

test("sharing keeps infinities, NaN and the zeros apart", () => {
  const [most, least] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const before = {
    above: maximum(x, least),
    below: maximum(x, most),
    none: add(x, Number.NaN),
    up: div(constant([], [1]), constant([], [0])),
    down: div(constant([], [1]), constant([], [-0])),
  };
  expect(values(share(before))).toEqual([[0.5, -1], [most, most], [Number.NaN, Number.NaN], [most], [least]]);
  expect(count(share({ a: maximum(x, least), b: maximum(x, least) }))).toBe(3);
});

test("folding computes what rests on constants alone, composites too", () => {
  const c = gelu(sqrt(add(constant([1, 2], [3, 8]), 1)));
  const before = { y: add(x, reshape(c, [1, 2])) };
  const after = fold(before);
  verify(Object.values(after));
  expect(count(after)).toBe(3);
  expect(values(after)).toEqual(values(before));
});

test("folding leaves integers, taps and large constants alone", () => {
  const kept = {
    ids: add(constant([1], [1], "int64"), constant([1], [2], "int64")),
    tap: tap("t", constant([1], [1])),
    large: exp(constant([5000], [1])),
  };
  expect(fold(kept)).toEqual(kept);
});

test("hoisting moves what only the prompt decides into a prologue, and the two give the whole", () => {
  const keys = linear(text, w, null);
  const before = { y: add(linear(x, w, null), silu(keys)), z: mul(x, keys) };
  const { prologue, rest } = hoist(before, new Set(["x"]));
  verify([...Object.values(prologue), ...Object.values(rest)]);
  expect(Object.keys(prologue)).toEqual(["hoisted.0", "hoisted.1"]);
  const names = topological(Object.values(rest)).flatMap(({ op, attrs }) =>
    op.name === "input" ? [attrs.name] : [],
  );
  expect(names).toEqual(["x", "hoisted.0", "hoisted.1"]);
  const computed = interpret(Object.values(prologue), leaves);
  const given = new Map([
    ...leaves,
    ...Object.keys(prologue).map((name, i) => [name, computed[i] as NdArray] as const),
  ]);
  expect(values(rest, given)).toEqual(values(before));
});

test("hoisting leaves weights, and what is only made of weights, where they are used", () => {
  const before = { y: mul(x, reshape(w, [4, 1])) };
  const { prologue, rest } = hoist(before, new Set(["x"]));
  expect(prologue).toEqual({});
  expect(rest).toEqual(before);
});

test("an output that the prompt alone decides is handed through", () => {
  const { prologue, rest } = hoist({ y: exp(text) }, new Set(["x"]));
  expect(Object.keys(prologue)).toEqual(["hoisted.0"]);
  expect(rest.y?.attrs.name).toBe("hoisted.0");
});

test("the inference pipeline folds and shares", () => {
  const c = (): Value => mul(constant([1], [2]), 3);
  const after = inference({ y: mul(add(x, c()), add(x, c())) });
  expect(count(after)).toBe(4);
});

test("stages, run one after another on what the others gave, give what the whole gives", () => {
  const first = labelled("a.0", () => linear(x, w, null));
  const middle = labelled("b.0", () => exp(add(first, text)));
  const last = labelled("a.1", () => mul(middle, add(first, middle)));
  const whole = { y: tap("end", last), z: middle };
  const graphs = stageGraphs(whole, (label) => label[0] ?? "");
  expect([...graphs.keys()]).toEqual(["a", "b"]);
  const known = new Map<string, NdArray>(leaves);
  for (let round = 0; round < 2; round++)
    for (const outputs of graphs.values()) {
      verify(Object.values(outputs));
      for (const [name, value] of Object.entries(outputs)) {
        const needs = topological([value]).flatMap(({ op, attrs }) =>
          op.name === "input" ? [attrs.name as string] : [],
        );
        if (!needs.every((need) => known.has(need))) continue; // another stage has not run yet
        const [result] = interpret([value], known);
        known.set(name, result as NdArray);
      }
    }
  expect([known.get("y"), known.get("z")].map((found) => [...(found?.data ?? [])])).toEqual(values(whole));
});
