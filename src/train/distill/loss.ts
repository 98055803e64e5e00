/**
 * The distillation loss as a graph: task + λ_out · output + λ_feat · feature, each a mean of squares in float32.
 * Source: BK-SDM (arXiv:2305.15798), equations of section 3.2, and `kd_train_text_to_image.py` at e13670c, whose feature terms
 * are summed and whose weights are all 1; KOALA (arXiv:2312.04005) keeps the form and changes the features.
 */

import { check } from "../../core/assert.ts";
import type { Value } from "../../graph/op.ts";
import { add, cast, mul, stopGradient } from "../../ops/index.ts";
import { mse, weightedMse } from "../objective.ts";
import type { FeaturePair } from "./features.ts";
import type { Side } from "./sides.ts";

export interface DistillWeights {
  /** Of the difference to the target; default 1. */
  readonly task?: number;
  /** Of the difference to the teacher's prediction; default 1. */
  readonly output?: number;
  /** Of the features together; default 1. */
  readonly feature?: number;
  /** Of each kind of feature within them; default 1. */
  readonly kinds?: Readonly<Partial<Record<FeaturePair["kind"], number>>>;
}

export interface DistillOptions {
  readonly pairs: readonly FeaturePair[];
  readonly weights?: DistillWeights;
  /** How the terms of the pairs become one; default their sum. */
  readonly reduce?: "sum" | "mean";
  /** The weight of each picture in the task term [N], such as min-SNR's; absent: all 1. */
  readonly pictureWeights?: Value;
  /** How finely the feature term is told: as one, by kind and stage, or by pair too. Default `total`. */
  readonly detail?: "total" | "stage" | "pair";
}

export interface DistillLoss {
  /** Of rank 0, as are all terms. */
  readonly loss: Value;
  /** Unweighted, by the name that logs show: `task`, `output`, `feature`, `feature SA DW-2`, `feature` and a tap. */
  readonly terms: ReadonlyMap<string, Value>;
}

/** Whatever it is stored in. */
const asFloat = (x: Value): Value => cast(x, "float32");

/**
 * The loss of `student` [N, L, h, w] against `target` (noise, velocity or picture, as the network predicts) and against
 * `teacher`, which saw the same noise, step and text; null trains without a teacher. No gradient flows into the teacher or the target.
 * Of task, output and feature those of weight 0 are not built.
 * @throws KoalaError E_CONFIG for weights that are negative, no numbers, or all 0, and for a teacher that is missing; E_GRAPH for a tap
 *   that a side lacks
 */
export function distillLoss(
  student: Side,
  teacher: Side | null,
  target: Value,
  o: DistillOptions,
): DistillLoss {
  const { task = 1, output = 1, feature = 1, kinds = {} } = o.weights ?? {};
  const distils = output > 0 || (feature > 0 && o.pairs.length > 0);
  checkWeights({ task, output, feature, ...kinds });
  check(task > 0 || distils, "E_CONFIG", () => ({
    where: "loss",
    expected: "a term with a weight above 0",
    got: "none",
  }));
  check(teacher !== null || !distils, "E_CONFIG", () => ({
    where: "loss",
    expected: "weights of 0 for output and feature, since there is no teacher",
    got: `${output} and ${feature}`,
  }));
  const terms = new Map<string, Value>();
  const weighted: Value[] = [];
  if (task > 0) {
    const term = taskTerm(student.prediction, target, o.pictureWeights);
    terms.set("task", term);
    weighted.push(times(term, task));
  }
  if (output > 0 && teacher !== null) {
    const term = difference(student.prediction, teacher.prediction);
    terms.set("output", term);
    weighted.push(times(term, output));
  }
  if (feature > 0 && teacher !== null && o.pairs.length > 0) {
    weighted.push(times(featureTerm(student, teacher, o, terms), feature));
  }
  return { loss: weighted.reduce(add), terms };
}

const times = (x: Value, weight: number): Value => (weight === 1 ? x : mul(x, weight));

function checkWeights(weights: Readonly<Record<string, number>>): void {
  for (const [name, weight] of Object.entries(weights)) {
    check(Number.isFinite(weight) && weight >= 0, "E_CONFIG", () => ({
      where: `weight of ${name}`,
      expected: "a number of at least 0",
      got: `${weight}`,
    }));
  }
}

function taskTerm(prediction: Value, target: Value, pictureWeights: Value | undefined): Value {
  const [own, fixed] = [asFloat(prediction), asFloat(stopGradient(target))];
  return pictureWeights === undefined
    ? mse(own, fixed)
    : weightedMse(own, fixed, stopGradient(pictureWeights));
}

/** The mean squared difference to what the teacher says, into which no gradient flows. */
const difference = (student: Value, teacher: Value): Value =>
  mse(asFloat(student), asFloat(stopGradient(teacher)));

/** Adds its terms to `terms` as `o.detail` asks, and gives them as one. */
function featureTerm(student: Side, teacher: Side, o: DistillOptions, terms: Map<string, Value>): Value {
  const { pairs, reduce = "sum", detail = "total", weights: { kinds = {} } = {} } = o;
  const parts = pairs.map((pair) => {
    const own = tapOf(student, pair.student, "student");
    return { pair, term: difference(own, tapOf(teacher, pair.teacher, "teacher")) };
  });
  const joined = (values: readonly Value[]): Value => {
    const total = values.reduce(add);
    return reduce === "mean" ? times(total, 1 / values.length) : total;
  };
  const total = joined(parts.map(({ pair, term }) => times(term, kinds[pair.kind] ?? 1)));
  terms.set("feature", total);
  if (detail !== "total") {
    const groups = new Map<string, Value[]>();
    for (const { pair, term } of parts) {
      const name = `feature ${pair.kind} ${pair.stage}`.trimEnd();
      groups.set(name, [...(groups.get(name) ?? []), term]);
    }
    for (const [name, group] of groups) terms.set(name, joined(group));
  }
  if (detail === "pair") {
    const isShared = (tap: string): boolean => pairs.filter((pair) => pair.student === tap).length > 1;
    for (const { pair, term } of parts) {
      const from = isShared(pair.student) ? ` from ${pair.teacher}` : "";
      terms.set(`feature ${pair.student}${from}`, term);
    }
  }
  return total;
}

function tapOf({ taps }: Side, name: string, side: string): Value {
  const value = taps.get(name);
  check(value !== undefined, "E_GRAPH", () => ({
    where: `tap ${name}`,
    expected: `a value of the ${side}`,
    got: "none",
  }));
  return value;
}
