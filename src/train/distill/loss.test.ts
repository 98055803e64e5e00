/** The loss and its gradients against PyTorch in float64: see test/golden/README.md, `distill/`. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../../test/golden.ts";
import { grad } from "../../autodiff/grad.ts";
import { KoalaError } from "../../core/errors.ts";
import { compile } from "../../engine/compile.ts";
import { interpret } from "../../graph/interpret.ts";
import type { Value } from "../../graph/op.ts";
import { timestepEmbedding } from "../../models/conditioning.ts";
import { unetInputs } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { Scope } from "../../nn/index.ts";
import { input, param } from "../../ops/index.ts";
import { host } from "../../runtime/host.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { noStore } from "../flat.ts";
import { networkInputs } from "../networks/network.ts";
import { unetNetwork } from "../networks/unet.ts";
import { cutUNet } from "./cut.ts";
import { type FeaturePair, featurePairs } from "./features.ts";
import { type DistillOptions, distillLoss } from "./loss.ts";
import { networkSide, type Side, targetName, targetSide, teacherTaps } from "./sides.ts";
import type { FeatureSet } from "./sites.ts";

const golden = goldenJson("distill/index.json");
const teachers = unetNetwork(golden.loss.teacher, noStore);
const cut = cutUNet(golden.loss.teacher, "koala-1b", { depth: 2 });
const students = unetNetwork(cut.config, noStore);
const { sinusoid } = unetConfig(cut.config);
const [batch, , height, width] = golden.loss.inputs.sample;
const size = { batch, height, width, tokens: golden.loss.inputs.encoder_hidden_states[1] };

const types = unetInputs(unetConfig(cut.config), size);
const inputs = networkInputs(students, size);
const noise = input("noise", types.sample);
const given = (name: string): Float32Array<ArrayBuffer> => fill(`input.${name}`, golden.loss.inputs[name]);
const feeds: Readonly<Record<string, Tensor>> = {
  sample: float32(types.sample.shape, given("sample")),
  t_emb: float32(
    types.t_emb.shape,
    timestepEmbedding(golden.loss.timesteps, types.t_emb.shape[1] ?? 0, sinusoid),
  ),
  text: float32(types.text.shape, given("encoder_hidden_states")),
  pooled: float32(types.pooled.shape, given("text_embeds")),
  time_ids: float32(types.time_ids.shape, timestepEmbedding(golden.loss.timeIds.flat(), 8, sinusoid)),
  noise: float32(types.sample.shape, given("noise")),
};

/** Both networks in one graph, the teacher's weights called `teacher.…`. */
const teacherScope = new Scope("teacher");
const studentScope = new Scope();
const teacher = networkSide(teacherScope, inputs, teachers);
const student = networkSide(studentScope, inputs, students);
const parameters = [...studentScope.parameters.values()];

/** The teacher's weights by the rule of fill.ts, the student's cut from them. */
function storeOf(): TensorStore {
  const named = [
    ...[...teacherScope.parameters.values()].map(({ name, value }) => ({
      name,
      from: name.slice("teacher.".length),
      value,
    })),
    ...parameters.map(({ name, value }) => ({ name, from: cut.sources.get(name) ?? "", value })),
  ];
  const sources = new Map(named.map((entry) => [entry.name, entry]));
  const stored = ({ shape }: Value) => {
    const byteLength = 4 * shape.reduce((a, b) => a * b, 1);
    return { dtype: "float32" as const, shape, file: null, offset: 0, byteLength };
  };
  return {
    tensors: new Map(named.map(({ name, value }) => [name, stored(value)])),
    read: async (name) => {
      const { from = "", value } = sources.get(name) ?? {};
      return float32(value?.shape ?? [], fill(from, value?.shape ?? []));
    },
  };
}

async function run(
  outputs: Readonly<Record<string, Value>>,
  fed: Readonly<Record<string, Tensor>> = feeds,
): Promise<Record<string, Float32Array>> {
  const engine = await host.engine("ort");
  const program = await compile(outputs, { engine, store: storeOf(), threads: 1 });
  const used = Object.keys(program.inputs).map((name) => [name, fed[name] as Tensor]);
  const results = await program.run(Object.fromEntries(used));
  await program.dispose();
  return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, toFloat32(t)]));
}

const pairsOf = (features: FeatureSet): FeaturePair[] =>
  featurePairs(teachers, students, { features, plan: cut.plan, size });
const optionsOf = (features: FeatureSet): DistillOptions => ({
  pairs: pairsOf(features),
  weights: golden.loss.weights,
  detail: "pair",
});

const norm = (values: Iterable<number>): number => Math.hypot(...values);
const DIRECTIONS = 8;

/** `g` along the golden's random directions, which have variance 1. */
const projections = (name: string, shape: readonly number[], g: Float32Array): number[] =>
  Array.from({ length: DIRECTIONS }, (_, k) => {
    const direction = fill(`input.direction.${k}.${name}`, shape);
    return Math.sqrt(3) * g.reduce((sum, x, i) => sum + x * (direction[i] ?? 0), 0);
  });

describe("the distillation loss is PyTorch's, term by term, and so is the gradient of every parameter", () => {
  const expected = goldenTensors("distill/gradients.safetensors");
  it.each(["koala", "bk-sdm", "all"] as const)("%s", async (set) => {
    const { loss, terms } = distillLoss(student, teacher, noise, optionsOf(set));
    const gradients = grad(
      loss,
      parameters.map(({ value }) => value),
    );
    const named = Object.fromEntries(parameters.map(({ name }, i) => [`d ${name}`, gradients[i] as Value]));
    const results = await run({ loss, ...Object.fromEntries(terms), ...named });

    const wanted: Record<string, number> = golden.cases[set].terms;
    expect(["loss", ...terms.keys()].sort()).toEqual(Object.keys(wanted).sort());
    for (const [name, value] of Object.entries(wanted))
      expect(Math.abs((results[name]?.[0] ?? Number.NaN) - value), name).toBeLessThanOrEqual(1e-5 * value);

    const names: string[] = golden.loss.parameters;
    expect(parameters.map(({ name }) => name).sort()).toEqual(names);
    const norms = expected.get(`${set}.norms`)?.data as Float32Array;
    const along = expected.get(`${set}.projections`)?.data as Float32Array;
    const all = norm(norms);
    for (const [i, name] of names.entries()) {
      const g = results[`d ${name}`] ?? new Float32Array();
      const { shape } = studentScope.parameters.get(name)?.value ?? { shape: [] };
      const off = projections(name, shape, g).map((p, k) => p - (along[i * DIRECTIONS + k] ?? 0));
      const bound = 1e-4 * (norms[i] ?? 0) + 1e-6 * all;
      // The mean square along directions of variance 1 is that of the whole error.
      expect(norm(off) / Math.sqrt(DIRECTIONS), name).toBeLessThanOrEqual(bound);
      expect(Math.abs(norm(g) - (norms[i] ?? 0)), name).toBeLessThanOrEqual(bound);
    }
  });
});

it("no gradient reaches the teacher or the target", () => {
  const { loss } = distillLoss(student, teacher, noise, optionsOf("koala"));
  const [weight] = teacherScope.parameters.values();
  expect(() => grad(loss, [weight?.value as Value])).toThrow(
    "teacher.time_embedding.linear_1.weight: expected a differentiable path to the loss, got none [E_GRAPH]",
  );
  expect(() => grad(loss, [noise])).toThrow(
    "noise: expected a differentiable path to the loss, got none [E_GRAPH]",
  );
});

it("a teacher that ran before, its answers kept in float32 or float16, teaches the same", async () => {
  const o = optionsOf("koala");
  const together = await run({ loss: distillLoss(student, teacher, noise, o).loss });
  const taps = teacherTaps(o.pairs);
  const answers = await run({
    [targetName()]: teacher.prediction,
    ...Object.fromEntries(taps.map((tap) => [targetName(tap), teacher.taps.get(tap) as Value])),
  });
  const side = targetSide(o.pairs, teacher.prediction.type);
  const kept = Object.fromEntries(
    [side.prediction, ...side.taps.values()].map(({ attrs, shape }) => [
      attrs.name as string,
      float32(shape, answers[attrs.name as string] ?? []),
    ]),
  );
  const apart = await run({ loss: distillLoss(student, side, noise, o).loss }, { ...feeds, ...kept });
  expect(apart.loss?.[0]).toBeCloseTo(together.loss?.[0] ?? 0, 5);
  const half = distillLoss(student, targetSide(o.pairs, teacher.prediction.type, "float16"), noise, o);
  expect([half.loss.type.dtype, half.loss.shape]).toEqual(["float32", []]);
});

describe("the terms", () => {
  const side = (name: string, shape = [2, 1, 1, 2]): Side => ({
    prediction: param(name, shape),
    taps: new Map(["a", "b", "c"].map((tap) => [tap, param(`${name}.${tap}`, [2])])),
  });
  const [own, theirs, target] = [side("s"), side("t"), param("target", [2, 1, 1, 2])];
  const pairs: FeaturePair[] = [
    { kind: "SA", stage: "DW-2", student: "a", teacher: "a", shape: [2] },
    { kind: "SA", stage: "DW-2", student: "a", teacher: "b", shape: [2] },
    { kind: "LF", stage: "DW-1", student: "c", teacher: "c", shape: [2] },
  ];
  const leaf = (shape: readonly number[], ...data: number[]) => ({ shape, data: Float64Array.from(data) });
  const leaves = new Map([
    ["s", leaf([2, 1, 1, 2], 1, 2, 3, 4)],
    ["t", leaf([2, 1, 1, 2], 0, 0, 0, 0)],
    ["target", leaf([2, 1, 1, 2], 1, 1, 1, 1)],
    ...["a", "b", "c"].flatMap((tap, i) => [
      [`s.${tap}`, leaf([2], i, i)] as const,
      [`t.${tap}`, leaf([2], 2 * i, 2 * i + 2)] as const,
    ]),
    ["weights", leaf([2], 1, 0.5)],
  ]);
  const evaluate = (
    o: Partial<DistillOptions>,
    teacherSide: Side | null = theirs,
  ): Record<string, number> => {
    const { loss, terms } = distillLoss(own, teacherSide, target, { pairs, ...o });
    const named = [["loss", loss] as const, ...terms];
    const values = interpret(
      named.map(([, value]) => value),
      leaves,
    );
    return Object.fromEntries(named.map(([name], i) => [name, values[i]?.data[0] ?? Number.NaN]));
  };

  it("are means of squares that add up", () => {
    // a: s 0 0, t 0 2; b: t 2 4; c: s 2 2, t 4 6
    expect(evaluate({})).toEqual({ loss: 3.5 + 7.5 + 22, task: 3.5, output: 7.5, feature: 2 + 10 + 10 });
  });

  it("are told by stage and by pair, and a shared tap with its teacher's", () => {
    const { loss: _, ...terms } = evaluate({ detail: "pair" });
    expect(terms).toEqual({
      task: 3.5,
      output: 7.5,
      feature: 22,
      "feature SA DW-2": 12,
      "feature LF DW-1": 10,
      "feature a from a": 2,
      "feature a from b": 10,
      "feature c": 10,
    });
  });

  it("are weighted, each and by kind, and may be a mean", () => {
    const weights = { task: 2, output: 0.5, feature: 0.1, kinds: { SA: 3 } };
    expect(evaluate({ weights }).loss).toBeCloseTo(2 * 3.5 + 0.5 * 7.5 + 0.1 * (3 * 12 + 10), 12);
    expect(evaluate({ reduce: "mean" }).feature).toBeCloseTo(22 / 3, 12);
  });

  it("weigh pictures in the task alone", () => {
    const pictureWeights = param("weights", [2]);
    expect(evaluate({ pictureWeights })).toMatchObject({ task: (1 * 0.5 + 0.5 * 6.5) / 2, output: 7.5 });
  });

  it("of weight 0 are not there, and without a teacher the task is alone", () => {
    expect(evaluate({ weights: { output: 0, feature: 0 } }, null)).toEqual({ loss: 3.5, task: 3.5 });
    expect(evaluate({ weights: { task: 0 } })).toEqual({ loss: 29.5, output: 7.5, feature: 22 });
  });

  it.each([
    [
      () => evaluate({ weights: { output: -1 } }),
      "weight of output: expected a number of at least 0, got -1 [E_CONFIG]",
    ],
    [
      () => evaluate({ weights: { task: 0, output: 0, feature: 0 } }),
      "loss: expected a term with a weight above 0, got none [E_CONFIG]",
    ],
    [
      () => evaluate({}, null),
      "loss: expected weights of 0 for output and feature, since there is no teacher, got 1 and 1 [E_CONFIG]",
    ],
    [
      () => evaluate({ pairs: [{ kind: "tap", stage: "", student: "a", teacher: "z", shape: [2] }] }),
      "tap z: expected a value of the teacher, got none [E_GRAPH]",
    ],
  ])("refuse what makes no loss: %#", (evaluation, sentence) => {
    let message = "";
    try {
      evaluation();
    } catch (error) {
      if (error instanceof KoalaError) message = error.message;
    }
    expect(message).toBe(sentence);
  });
});
