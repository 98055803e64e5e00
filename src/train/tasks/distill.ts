/** Training a student by its teacher, which sees the same noise, step and text: in one graph with it, or in turns. */

import { check } from "../../core/assert.ts";
import { type Leaf, Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import type { DenoiserSize } from "../../pipeline/networks.ts";
import type { Precision } from "../../runtime/session.ts";
import { sameShape } from "../../tensor/shape.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { deriveStore } from "../../weights/stores.ts";
import type { FeaturePair } from "../distill/features.ts";
import { type DistillWeights, distillLoss } from "../distill/loss.ts";
import { networkSide, type Side, targetSide } from "../distill/sides.ts";
import { noStore, type TrainEngine } from "../flat.ts";
import { wholeLearner } from "../learner.ts";
import { type Network, type NetworkInputs, networkInputs } from "../networks/network.ts";
import type { Objective } from "../segments.ts";
import type { Batch } from "../trainer.ts";
import { microBatches } from "./denoiser.ts";
import { type NoisedOptions, noisedFeeds, objectiveOf, targetInput, weightInput } from "./noised.ts";
import type { Task } from "./task.ts";
import { type AnswerStore, memoryAnswers, Turns, turnLength } from "./turns.ts";

export interface DistillTaskOptions extends TrainEngine {
  /** In which a teacher that takes turns computes. Default `f32`. */
  readonly precision?: Precision;
  readonly teacher: Network;
  readonly student: Network;
  readonly size: DenoiserSize;
  readonly pairs: readonly FeaturePair[];
  /** The same at another size; needed where batches come in several. */
  readonly pairsAt?: (size: DenoiserSize) => readonly FeaturePair[];
  readonly weights: Required<Pick<DistillWeights, "task" | "output" | "feature">>;
  readonly detail: "total" | "stage" | "pair";
  readonly data: NoisedOptions;
  readonly accumulate: number;
  /** Least batches between two turns of the teacher, which end with a step; null: it is in the student's graph. */
  readonly turn: number | null;
  /** Of the whole run, after which no answers are needed; absent: nobody knows. */
  readonly steps?: number;
  /** Where its answers wait, when it takes turns; default: in memory. */
  readonly answers?: AnswerStore;
}

/** Under which the teacher's weights stand in the common graph. */
const PREFIX = "teacher";

/** @throws KoalaError E_CONFIG when the student is fed other things than its teacher, or no term has a weight */
export function distillTask(o: DistillTaskOptions): Task {
  checkInputs(o);
  const learner = wholeLearner(o.student.store);
  const needsTeacher = o.weights.output > 0 || (o.weights.feature > 0 && o.pairs.length > 0);
  const pairs = o.weights.feature > 0 ? o.pairs : [];
  const isTogether = needsTeacher && o.turn === null;
  const objective = objectiveOf({ size: o.size, hasSizes: o.data.hasSizes }, (size) => {
    const at = { ...o, size, pairs: size === o.size ? pairs : (o.pairsAt?.(size) ?? pairs) };
    return distillObjective(at, learner.leaf, needsTeacher);
  });
  const turns = needsTeacher && o.turn !== null ? turnsOf(o, pairs, o.turn) : null;
  return {
    objective,
    weights: learner.weights(),
    initial: o.student.store,
    frozen: isTogether ? prefixed(o.teacher.store) : noStore,
    pictures: o.size.batch * o.accumulate,
    async batches(step, rest) {
      const made: Batch[] = [];
      for (const index of microBatches(step, o.accumulate)) {
        const feeds = withoutUnused(await noisedFeeds(index, o.data), o.weights.task);
        made.push(turns === null ? feeds : { ...feeds, ...(await turns.answers(index, rest)) });
      }
      return made;
    },
    ...(turns === null
      ? {}
      : { ahead: async (step: number) => void (await turns.answers((step - 1) * o.accumulate)) }),
    dispose: async () => turns?.forget(),
  };
}

const turnsOf = (o: DistillTaskOptions, pairs: readonly FeaturePair[], turn: number): Turns =>
  new Turns({
    ...{ ...o, pairs, length: turnLength(turn, o.accumulate) },
    end: (o.steps ?? Number.POSITIVE_INFINITY) * o.accumulate,
    needsOutput: o.weights.output > 0,
    answers: o.answers ?? memoryAnswers(),
  });

/** The losses of batches of `o.size`, over the student's weights as `leaf` gives them. */
function distillObjective(o: DistillTaskOptions, leaf: Leaf, needsTeacher: boolean): Objective {
  const inputs = networkInputs(o.student, o.size);
  const student = networkSide(new Scope("", new Map(), leaf), inputs, o.student);
  const teacher = needsTeacher ? teacherSide(o, inputs, o.pairs, student) : null;
  const target = input(targetInput, { shape: student.prediction.shape });
  const { terms } = distillLoss(student, teacher, target, {
    pairs: o.pairs,
    weights: o.weights,
    detail: o.detail,
    pictureWeights: input(weightInput, { shape: [o.size.batch] }),
  });
  const factorOf = (term: string): number => (o.weights as Readonly<Record<string, number>>)[term] ?? 0;
  return {
    terms: Object.fromEntries(terms),
    factors: Object.fromEntries([...terms.keys()].map((term) => [term, factorOf(term)])),
  };
}

/** Without a task term the graph reads no target. */
function withoutUnused(feeds: Batch, task: number): Batch {
  if (task > 0) return feeds;
  const { [targetInput]: _, [weightInput]: __, ...rest } = feeds;
  return rest;
}

function checkInputs({ teacher, student, size }: DistillTaskOptions): void {
  const theirs = Object.entries(teacher.inputs(size));
  const own = new Map(Object.entries(student.inputs(size)));
  const other = theirs.find(([name, { shape }]) => !sameShape(own.get(name)?.shape ?? [], shape));
  check(theirs.length === own.size && other === undefined, "E_CONFIG", () => ({
    where: "student",
    expected: "a student that reads what its teacher reads",
    got: `another ${other?.[0] ?? "set of inputs"}`,
    hint: "A student cut from the teacher does: koala cut shows how.",
  }));
}

function teacherSide(
  o: DistillTaskOptions,
  inputs: NetworkInputs,
  pairs: readonly FeaturePair[],
  student: Side,
): Side {
  return o.turn === null
    ? networkSide(new Scope(PREFIX), inputs, o.teacher)
    : targetSide(pairs, student.prediction.type, "float16");
}

const prefixed = (store: TensorStore): TensorStore =>
  deriveStore(
    store,
    new Map([...store.tensors.keys()].map((name) => [`${PREFIX}.${name}`, { from: name }])),
    PREFIX,
  );
