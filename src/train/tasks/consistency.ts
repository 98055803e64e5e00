/**
 * Step distillation: a student learns to say at once what its teacher, guided, comes to in many steps. PCM has a goal for
 * each phase of the path and may have an adversary; LCM has one goal, the picture.
 */

import { addNoise, levelOfAlpha, type NoiseLevel } from "../../diffusion/prediction.ts";
import type { Value } from "../../graph/op.ts";
import { tapsOf } from "../../graph/order.ts";
import { guidanceEmbedding } from "../../models/conditioning.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { fedLeaf, type Leaf, Scope } from "../../nn/index.ts";
import { add, concat, input, mul, param, split, stopGradient } from "../../ops/index.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { unionStore } from "../../weights/stores.ts";
import { critic, criticTaps, discriminatorLoss, generatorLoss } from "../consistency/discriminator.ts";
import { consistencySides, huber, type Moves, type Says } from "../consistency/loss.ts";
import { type PathOptions, type Place, placesOf, travel } from "../consistency/path.ts";
import type { CaptionStates } from "../data/encode.ts";
import { wholeText } from "../data/loader.ts";
import { type Learner, prefixed, useOf } from "../learner.ts";
import { type Network, type NetworkInputs, networkInputs } from "../networks/network.ts";
import { type Draws, drawNoise, drawTimesteps, mse, stepGenerator } from "../objective.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";
import { microBatches } from "./denoiser.ts";
import { freshStore } from "./fresh.ts";
import { drawnLatents, type LatentOptions, objectiveOf } from "./noised.ts";
import type { Task } from "./task.ts";

export interface ConsistencyTaskOptions {
  readonly teacher: Pick<Network, "json" | "store" | "predict">;
  readonly student: Pick<Network, "inputs" | "predict">;
  readonly learner: Learner;
  readonly path: PathOptions;
  readonly size: DenoiserSize;
  readonly data: LatentOptions;
  /** States of no caption, as the model encodes it; asked for once the data are there. */
  readonly empty: () => Promise<CaptionStates>;
  /** Least and most guidance of the teacher, as requests have it: 1 is none. */
  readonly guidance: readonly [least: number, most: number];
  readonly loss: "huber" | "l2";
  readonly huberC: number;
  /** Whether the student is judged by its moving average; else by itself. */
  readonly isJudgedByAverage: boolean;
  /** null: no adversary. It reads features of a U-Net. */
  readonly adversary: { readonly weight: number; readonly rate: number } | null;
  readonly accumulate: number;
}

/** Under which the teacher's weights stand in the common graph. */
export const TEACHER = "teacher.";

/** What a network is told beside latents and timestep, by the names of its inputs. */
type Conditions = NetworkInputs;
/** Of those, what rests on the caption; without one they are fed after `no.`. */
const OF_CAPTION: ReadonlySet<string> = new Set(["text", "mask", "pooled"]);

/** Numbers of each picture [N, 1, 1, 1], which the graph is fed. */
const scalars = [
  ...(["online", "solver", "target"] as const).flatMap(
    (move) => [`${move}.sample`, `${move}.output`] as const,
  ),
  "guidance",
] as const;
/** The same of the way to where the adversary looks. */
const travels = ["travel.signal", "travel.noise"] as const;

export interface ConsistencyGraph {
  readonly objective: Task["objective"];
  readonly rival: Omit<NonNullable<Task["rival"]>, "initial" | "rate"> | null;
  /** The adversary's, as they are drawn. */
  readonly heads: Scope;
}

/**
 * The losses over weights that are fed, those of the adversary as `headLeaf` gives them; the teacher's are parameters after
 * `TEACHER`.
 */
export function consistencyGraph(
  o: Pick<
    ConsistencyTaskOptions,
    "teacher" | "student" | "learner" | "size" | "loss" | "huberC" | "isJudgedByAverage" | "adversary"
  >,
  headLeaf: Leaf = fedLeaf,
): ConsistencyGraph {
  const { sample, t_emb, ...own } = networkInputs(o.student, o.size) as NetworkInputs &
    Readonly<Record<"sample" | "t_emb", Value>>;
  const number = (name: string): Value => input(name, { shape: [o.size.batch, 1, 1, 1] });
  const moves = (name: string): Moves => ({
    sample: number(`${name}.sample`),
    output: number(`${name}.output`),
  });
  const says =
    (s: Scope, network: Pick<Network, "predict">, told: Conditions): Says =>
    (z, t) =>
      network.predict(s, { ...told, sample: z, t_emb: t });

  const teacherLeaf = new Scope("", new Map(), (name, shape) => param(TEACHER + name, shape));
  const ofTeacher = (path: string): Scope =>
    useOf(path, (name, shape) => teacherLeaf.param(name, shape, { kind: "constant", value: 0 }));
  const { timestep_cond: _, ...seen } = own;
  const without: Conditions = Object.fromEntries(
    Object.entries(seen).map(([name, x]) => [name, OF_CAPTION.has(name) ? input(`no.${name}`, x.type) : x]),
  );

  const judged = o.isJudgedByAverage ? o.learner.averaged : o.learner.leaf;
  const { answer, target } = consistencySides(
    {
      student: says(new Scope("", new Map(), o.learner.leaf), o.student, own),
      judge: says(useOf("judge", judged), o.student, own),
      teacher: says(ofTeacher("teacher"), o.teacher, joined(seen, without)),
    },
    {
      ...{ sample, timestep: t_emb, next: input("t_emb.next", t_emb.type) },
      ...{ online: moves("online"), solver: moves("solver"), target: moves("target") },
      guidance: number("guidance"),
    },
  );
  const consistency = o.loss === "huber" ? huber(answer, target, o.huberC) : mse(answer, target);
  const heads = new Scope("", new Map(), headLeaf);
  if (o.adversary === null) return { objective: { terms: { consistency } }, rival: null, heads };

  const judge = unetConfig(o.teacher.json);
  const later = input("t_emb.critic", t_emb.type);
  const [signal, noise] = travels.map(number) as [Value, Value];
  const travelled = (z: Value, name: string): Value => add(mul(z, signal), mul(input(name, z.type), noise));
  const scores = (path: string, z: Value, t: Value, told: Conditions): Value[] => {
    const said = says(ofTeacher(path), o.teacher, told)(z, t);
    const taps = tapsOf([said]);
    const features = criticTaps(judge).map((name) => taps.get(`${path}.${name}`) as Value);
    return critic(heads, features, judge.groups);
  };
  const fake = travelled(answer, "noise.fake");
  const real = travelled(target, "noise.real");
  const both = scores(
    "critic.both",
    concat([stopGradient(fake), real], 0),
    concat([later, later], 0),
    joined(seen, seen),
  ).map((x) => split(x, 2, 0) as [Value, Value]);
  const discriminator = discriminatorLoss(
    both.map(([x]) => x),
    both.map(([, x]) => x),
  );
  const adversarial = generatorLoss(scores("critic", fake, later, seen));
  return {
    objective: {
      terms: { consistency, adversarial },
      factors: { adversarial: o.adversary.weight },
    },
    rival: {
      objective: { terms: { discriminator } },
      weights: new Map([...heads.parameters].map(([name, { value }]) => [name, value])),
    },
    heads,
  };
}

/** Conditions of two batches, one after the other. */
const joined = (a: Conditions, b: Conditions): Conditions =>
  Object.fromEntries(Object.entries(a).map(([name, x]) => [name, concat([x, b[name] as Value], 0)]));

/** @throws KoalaError E_CONFIG for a grid or phases that do not fit, E_WEIGHTS */
export function consistencyTask(o: ConsistencyTaskOptions): Task {
  const graph = consistencyGraph(o);
  const { rival, heads } = graph;
  /** The graph at another size, over the same leaves. */
  const again = (size: DenoiserSize): ConsistencyGraph =>
    size === o.size
      ? graph
      : consistencyGraph({ ...o, size }, (name) => heads.parameters.get(name)?.value as Value);
  const sizes = { size: o.size, hasSizes: o.data.hasSizes };
  const objective = objectiveOf(sizes, (size) => again(size).objective);
  const judged = (size: DenoiserSize): Objective => again(size).rival?.objective as Objective;
  const places = placesOf(o.path);
  return {
    objective,
    weights: o.learner.weights(),
    initial: o.learner.initial(),
    frozen: frozenOf(o),
    ...(rival === null || o.adversary === null
      ? {}
      : {
          rival: {
            ...rival,
            objective: objectiveOf(sizes, judged),
            rate: o.adversary.rate,
            initial: freshStore(heads.parameters, o.data.seed),
          },
        }),
    pictures: o.size.batch * o.accumulate,
    batches: (step) =>
      Promise.all(microBatches(step, o.accumulate).map((index) => consistencyFeeds(index, places, o))),
    dispose: async () => {},
  };
}

/** The teacher's weights, and those that an adapted student does not share with it. */
function frozenOf({ teacher, learner }: ConsistencyTaskOptions): TensorStore {
  const theirs = prefixed(teacher.store, TEACHER);
  const own = [...learner.frozen.tensors.keys()];
  return own.every((name) => theirs.tensors.has(name))
    ? theirs
    : unionStore([theirs, learner.frozen], "student");
}

/** Numbers a picture, uniform from `least` to `most`. */
function uniform(random: Draws, count: number, least: number, most: number): number[] {
  const draws = new Float32Array(count);
  random.uniform(draws, 0, 1);
  return Array.from(draws, (u) => least + (most - least) * u);
}

/** Micro-batch `index`, from 0: what the graph of `consistencyGraph` reads. */
export async function consistencyFeeds(
  index: number,
  places: readonly Place[],
  o: ConsistencyTaskOptions,
): Promise<Batch> {
  const loaded = await o.data.loader.at(index);
  const random = (what: string): Draws => stepGenerator(o.data.seed, index, what, loaded.share);
  const z0 = drawnLatents(loaded, index, o.data);
  const [batch = 0, channels = 0, h = 0, w = 0] = z0.shape;
  const drawn = (what: string): Tensor =>
    float32(z0.shape, drawNoise(random(what), { batch, channels, cells: h * w }));
  const noise = drawn("noise");
  const at = drawTimesteps(random("place"), batch, places.length).map((i) => places[i] as Place);
  const guidance = uniform(random("guidance"), batch, ...o.guidance).map((scale) => scale - 1);
  const values = (name: (typeof scalars)[number]): number[] => {
    if (name === "guidance") return guidance;
    const [move, part] = name.split(".") as ["online" | "solver" | "target", "sample" | "output"];
    return at.map((place) => place[move][part]);
  };
  const guidanceChannels = o.student.inputs(o.size).timestep_cond?.shape[1];
  return {
    sample: noised(z0, noise, at, o.path.alphasCumprod),
    t_emb: o.data.network.timeFeatures(at.map(({ timestep }) => timestep)),
    "t_emb.next": o.data.network.timeFeatures(at.map(({ next }) => next)),
    ...o.data.network.conditions(loaded, o.data.hasZeroForEmpty),
    ...(await emptyFeeds(batch, o)),
    ...(guidanceChannels === undefined
      ? {}
      : { timestep_cond: float32([batch, guidanceChannels], guidanceEmbedding(guidance, guidanceChannels)) }),
    ...Object.fromEntries(scalars.map((name) => [name, column(values(name))])),
    ...(o.adversary === null ? {} : criticFeeds(at, o, random, drawn)),
  };
}

const column = (values: readonly number[]): Tensor =>
  float32([values.length, 1, 1, 1], Float32Array.from(values));

function noised(z0: Tensor, noise: Tensor, at: readonly Place[], alphasCumprod: Float32Array): Tensor {
  const [z, e] = [toFloat32(z0), toFloat32(noise)];
  const out = new Float32Array(z.length);
  const each = z.length / at.length;
  for (const [n, { timestep }] of at.entries()) {
    const [from, to] = [n * each, (n + 1) * each];
    const level = levelOfAlpha(alphasCumprod[timestep] ?? Number.NaN);
    out.set(addNoise(z.subarray(from, to), e.subarray(from, to), level), from);
  }
  return float32(z0.shape, out);
}

/** "No caption", once a picture. */
async function emptyFeeds(batch: number, { data, empty }: ConsistencyTaskOptions): Promise<Batch> {
  const states = await empty();
  const { mask, pooled } = states;
  const rows = (t: Tensor): Tensor => {
    const one = toFloat32(t);
    const all = new Float32Array(batch * one.length);
    if (!data.hasZeroForEmpty) for (let n = 0; n < batch; n++) all.set(one, n * one.length);
    return float32([batch, ...t.shape], all);
  };
  return {
    "no.text": rows(wholeText(states)),
    ...(mask == null ? {} : { "no.mask": rows(mask) }),
    ...(pooled === null ? {} : { "no.pooled": rows(pooled) }),
  };
}

/** Where the adversary looks: from a phase's end back to anywhere in it, for the student's answer and the target alike. */
function criticFeeds(
  at: readonly Place[],
  { data, path }: ConsistencyTaskOptions,
  random: (what: string) => Draws,
  drawn: (what: string) => Tensor,
): Batch {
  const length = Math.floor(path.alphasCumprod.length / path.phases);
  const shares = uniform(random("critic"), at.length, 0, 1);
  const timesteps = at.map(({ end }, n) => end + Math.min(Math.floor((shares[n] ?? 0) * length), length - 1));
  const ways = at.map(({ end }, n): NoiseLevel => travel(path.alphasCumprod, end, timesteps[n] ?? end));
  return {
    "t_emb.critic": data.network.timeFeatures(timesteps),
    "noise.fake": drawn("noise of the answer"),
    "noise.real": drawn("noise of the target"),
    [travels[0]]: column(ways.map(({ signal }) => signal)),
    [travels[1]]: column(ways.map(({ noise }) => noise)),
  };
}
