/** Losses of PCM and LCM and their gradients against PyTorch in float64: see test/golden/README.md, `consistency/`. */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../../test/golden.ts";
import { grad } from "../../autodiff/grad.ts";
import type { KoalaError } from "../../core/errors.ts";
import { addNoise, levelOfAlpha } from "../../diffusion/prediction.ts";
import { trailingTimesteps } from "../../diffusion/schedule.ts";
import { compile } from "../../engine/compile.ts";
import type { Value } from "../../graph/op.ts";
import { timestepEmbedding } from "../../models/conditioning.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { host } from "../../runtime/host.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { unionStore } from "../../weights/stores.ts";
import { cutStore, cutUNet } from "../distill/cut.ts";
import { averageOf } from "../ema.ts";
import { noStore } from "../flat.ts";
import { prefixed, wholeLearner } from "../learner.ts";
import { unetNetwork } from "../networks/unet.ts";
import { totalOf } from "../segments.ts";
import { consistencyGraph, TEACHER } from "../tasks/consistency.ts";
import { trainingNoise } from "../tasks/schedule.ts";
import {
  checkEnds,
  gridTimesteps,
  type PathOptions,
  type Place,
  phaseStarts,
  placesOf,
  travel,
} from "./path.ts";

const golden = goldenJson("consistency/index.json");
const expected = goldenTensors("consistency/gradients.safetensors");
const teacherConfig = unetConfig(golden.teacher);
const cut = cutUNet(golden.teacher, "koala-1b", { depth: 2 });
const studentConfig = unetConfig(cut.config);
const [batch, , height, width] = golden.inputs.sample;
const size = { batch, height, width, tokens: golden.inputs.encoder_hidden_states[1] };
const { alphasCumprod } = trainingNoise(golden.schedule, "schedule");

/** Tensors of any name, filled by it. */
function filled(shapes: ReadonlyMap<string, readonly number[]>): TensorStore {
  const stored = (shape: readonly number[]) => ({
    ...{ dtype: "float32" as const, shape, file: null, offset: 0 },
    byteLength: 4 * shape.reduce((a, b) => a * b, 1),
  });
  return {
    tensors: new Map([...shapes].map(([name, shape]) => [name, stored(shape)])),
    read: async (name) => float32(shapes.get(name) ?? [], fill(name, shapes.get(name) ?? [])),
  };
}

/** The case of the golden as a graph, with everything that it is fed. */
async function built(name: string) {
  const c = golden.cases[name];
  const path: PathOptions = { ...c, alphasCumprod };
  const places = placesOf(path);
  const at: Place[] = c.indices.map((i: number) => places[i]);
  const probe = wholeLearner(filled(new Map()));
  const options = {
    ...{ teacher: unetNetwork(golden.teacher, noStore), student: unetNetwork(cut.config, noStore), size },
    ...{ loss: c.loss, huberC: golden.huberC, isJudgedByAverage: c.method === "lcm" },
    adversary: c.adversary === undefined ? null : { weight: c.adversary, rate: 0 },
    learner: probe,
  };
  const graph = consistencyGraph(options);
  const weights = probe.weights();
  const teacher = filled(
    new Map([...buildUNet(teacherConfig, size).parameters].map(([n, { value }]) => [n, value.shape])),
  );
  const student = cutStore(cut, teacher, "teacher");

  const given = (n: string, from = n): Tensor =>
    float32(golden.inputs[from], fill(`input.${n}`, golden.inputs[from]));
  const column = (values: readonly number[]): Tensor => float32([batch, 1, 1, 1], Float32Array.from(values));
  const times = (t: readonly number[]): Tensor => {
    const channels = studentConfig.down[0]?.channels ?? 0;
    return float32([batch, channels], timestepEmbedding(t, channels, studentConfig.sinusoid));
  };
  const each = height * width * 4;
  const [z0, noise] = [toFloat32(given("sample")), toFloat32(given("noise"))];
  const z = new Float32Array(z0.length);
  for (const [n, { timestep }] of at.entries()) {
    const [from, to] = [n * each, (n + 1) * each];
    const level = levelOfAlpha(alphasCumprod[timestep] ?? 0);
    z.set(addNoise(z0.subarray(from, to), noise.subarray(from, to), level), from);
  }
  const feeds: Record<string, Tensor> = {
    ...{ sample: float32(golden.inputs.sample, z), t_emb: times(at.map((p) => p.timestep)) },
    ...{ "t_emb.next": times(at.map((p) => p.next)), guidance: column(golden.guidance) },
    ...{ text: given("encoder_hidden_states"), pooled: given("text_embeds") },
    time_ids: float32([batch, 48], timestepEmbedding(golden.timeIds.flat(), 8, studentConfig.sinusoid)),
    "no.text": given("no.encoder_hidden_states", "encoder_hidden_states"),
    "no.pooled": given("no.text_embeds", "text_embeds"),
  };
  for (const move of ["online", "solver", "target"] as const)
    for (const part of ["sample", "output"] as const)
      feeds[`${move}.${part}`] = column(at.map((p) => p[move][part]));
  if (c.critic !== undefined) {
    const ways = at.map(({ end }, n) => travel(alphasCumprod, end, c.critic[n]));
    feeds["t_emb.critic"] = times(c.critic);
    feeds["travel.signal"] = column(ways.map((l) => l.signal));
    feeds["travel.noise"] = column(ways.map((l) => l.noise));
    feeds["noise.fake"] = given("noise.fake", "sample");
    feeds["noise.real"] = given("noise.real", "sample");
  }
  for (const n of weights.keys()) {
    const t = await student.read(n);
    feeds[n] = t;
    feeds[averageOf(n)] = float32(
      t.shape,
      toFloat32(t).map((v) => golden.average * v),
    );
  }
  for (const [n, value] of graph.rival?.weights ?? []) feeds[n] = float32(value.shape, fill(n, value.shape));
  return { c, at, graph, weights, feeds, store: unionStore([prefixed(teacher, TEACHER)], "teacher") };
}

const norm = (values: Iterable<number>): number => Math.hypot(...values);

/** Holds that gradients are those of the golden along its random directions, whose mean square is that of the error. */
function expectGradients(
  key: string,
  names: readonly string[],
  gradients: Readonly<Record<string, Tensor>>,
): void {
  const norms = expected.get(`${key}.norms`)?.data as Float32Array;
  const along = expected.get(`${key}.projections`)?.data as Float32Array;
  const all = norm(norms);
  for (const [i, name] of names.entries()) {
    const t = gradients[`d ${name}`] as Tensor;
    const g = toFloat32(t);
    const off = Array.from({ length: golden.directions }, (_, k) => {
      const direction = fill(`input.direction.${k}.${name}`, t.shape);
      const own = Math.sqrt(3) * g.reduce((sum, x, j) => sum + x * (direction[j] ?? 0), 0);
      return own - (along[i * golden.directions + k] ?? 0);
    });
    const bound = 1e-4 * (norms[i] ?? 0) + 1e-6 * all;
    expect(norm(off) / Math.sqrt(golden.directions), name).toBeLessThanOrEqual(bound);
  }
}

describe("losses and the gradient of every parameter are PyTorch's", () => {
  it.each(Object.keys(golden.cases))("%s", async (name) => {
    const { c, at, graph, weights, feeds, store } = await built(name);
    expect(at.map((p) => [p.timestep, p.next, p.end])).toEqual(
      c.start.map((start: number, n: number) => [start, c.next[n], c.end[n]]),
    );
    const sides = [
      { side: "student", objective: graph.objective, wrt: weights },
      ...(graph.rival === null
        ? []
        : [{ side: "discriminator", objective: graph.rival.objective, wrt: graph.rival.weights }]),
    ];
    const engine = await host.engine("ort");
    for (const { side, objective, wrt } of sides) {
      const names: string[] = golden.parameters[side];
      expect([...wrt.keys()].sort()).toEqual(names);
      const gradients = grad(
        totalOf(objective),
        names.map((n) => wrt.get(n) as Value),
      );
      const outputs = {
        ...objective.terms,
        ...Object.fromEntries(names.map((n, i) => [`d ${n}`, gradients[i] as Value])),
      };
      const program = await compile(outputs, { engine, store, threads: 1 });
      const used = Object.keys(program.inputs).map((n) => [n, feeds[n] as Tensor] as const);
      const results = await program.run(Object.fromEntries(used));
      await program.dispose();
      for (const term of Object.keys(objective.terms)) {
        const value = toFloat32(results[term] as Tensor)[0] ?? Number.NaN;
        expect(Math.abs(value - c.terms[term]), term).toBeLessThanOrEqual(1e-4 * c.terms[term]);
      }
      expectGradients(`${name}.${side}`, names, results);
    }
  });
});

describe("places of the path", () => {
  const o: PathOptions = { method: "pcm", alphasCumprod, prediction: "epsilon", grid: 40, phases: 4 };
  it("are the grid of the facts, and a phase ends where the one below it begins", () => {
    expect(gridTimesteps(1000, 40).slice(0, 3)).toEqual([24, 49, 74]);
    expect(phaseStarts(40, 4)).toEqual([0, 10, 20, 30]);
    expect([...new Set(placesOf(o).map(({ end }) => end))]).toEqual([0, 249, 499, 749]);
  });
  it("where a phase begins, the target is the teacher's own step", () => {
    for (const start of phaseStarts(40, 4))
      expect(placesOf(o)[start]?.target).toEqual({ sample: 1, output: 0 });
    const [first] = placesOf({ ...o, method: "lcm" });
    expect(first?.target).toEqual({ sample: 1, output: 0 });
  });
  const refusal = (more: Partial<PathOptions>, refuse: (path: PathOptions) => unknown = placesOf): string => {
    try {
      refuse({ ...o, ...more });
    } catch (error) {
      return (error as KoalaError).message;
    }
    return "nothing";
  };
  it("a grid finer than training and more phases than places are refused", () => {
    expect(refusal({ grid: 2000 })).toBe(
      "grid: expected at most 1000, the steps that the teacher was trained with, got 2000 [E_CONFIG]",
    );
    expect(refusal({ phases: 41 })).toBe(
      "phases: expected at most 40, the steps of the grid, got 41 [E_CONFIG]",
    );
  });
  it("phases that would not end where their result draws are refused, with what fits", () => {
    expect(refusal({ phases: 3 }, checkEnds)).toBe(
      "phases: expected equal parts of the teacher's 1000 steps: 1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500 or 1000, got 3 [E_CONFIG]",
    );
    expect(refusal({ phases: 25 }, checkEnds)).toBe(
      "grid: expected equal steps through the teacher's 1000 that 25 phases share evenly: 25, 50, 100, 125, 200, 250, 500 or 1000, got 40 [E_CONFIG]",
    );
    expect(refusal({ grid: 30, phases: 2 }, checkEnds)).toMatch(
      /^grid: .+: 2, 4, 8, .+ or 1000, got 30 \[E_CONFIG\]$/,
    );
  });
  it.each([
    1, 2, 4, 5, 8, 10, 20, 40,
  ])("%d phases begin where the result's scheduler has its steps", (phases) => {
    const path = { ...o, phases };
    checkEnds(path);
    const places = placesOf(path);
    const begins = places.filter(({ end }, i) => places[i + 1]?.end !== end);
    expect(begins.map(({ timestep }) => timestep).reverse()).toEqual(trailingTimesteps(phases, 1000));
    expect(begins.map(({ end }) => end)).toEqual([0, ...begins.slice(0, -1).map(({ timestep }) => timestep)]);
  });
});
