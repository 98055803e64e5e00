/**
 * The loss of a consistency model as a graph: what the student says at one place of the teacher's path is what it says one
 * step of the teacher further on. Sources: as of `path.ts`.
 */

import type { Value } from "../../graph/op.ts";
import { add, concat, mean, mul, split, sqrt, square, stopGradient, sub } from "../../ops/index.ts";

/** What a network says to latents [N, L, h, w] at a timestep, given as its features [N, C], under the batch's conditions. */
export type Says = (sample: Value, timestep: Value) => Value;

/** A move of every picture: `sample` and `output` [N, 1, 1, 1]. */
export interface Moves {
  readonly sample: Value;
  readonly output: Value;
}

export interface ConsistencyInputs {
  /** Noised latents [N, L, h, w]. */
  readonly sample: Value;
  /** Features of the timestep [N, C], and of that one step on. */
  readonly timestep: Value;
  readonly next: Value;
  readonly online: Moves;
  readonly solver: Moves;
  readonly target: Moves;
  /** w [N, 1, 1, 1]: how much further than its answer to the caption, away from that to none, the teacher goes. */
  readonly guidance: Value;
}

export interface ConsistencyNetworks {
  readonly student: Says;
  /** The student as it judges: its own weights or their average. No gradient flows into it. */
  readonly judge: Says;
  /** Its answers [2·N, L, h, w] to `sample` and `timestep` [2·N, ..]: with the captions, then without. */
  readonly teacher: Says;
}

const moved = (z: Value, said: Value, { sample, output }: Moves): Value =>
  add(mul(z, sample), mul(said, output));

/** c + w (c − u) for answers [2·N, ..], the conditional ones first → [N, ..]. */
function guided(answers: Value, guidance: Value): Value {
  const [withText, without] = split(answers, 2, 0) as [Value, Value];
  return add(withText, mul(guidance, sub(withText, without)));
}

/** The student's answer and what it should be, [N, L, h, w] each; no gradient flows into the latter. */
export function consistencySides(
  { student, judge, teacher }: ConsistencyNetworks,
  x: ConsistencyInputs,
): { readonly answer: Value; readonly target: Value } {
  const twice = (v: Value): Value => concat([v, v], 0);
  const said = guided(teacher(twice(x.sample), twice(x.timestep)), x.guidance);
  const further = stopGradient(moved(x.sample, said, x.solver));
  return {
    answer: moved(x.sample, student(x.sample, x.timestep), x.online),
    target: stopGradient(moved(further, judge(further, x.next), x.target)),
  };
}

const axesOf = (x: Value): number[] => x.shape.map((_, axis) => axis);

/** The mean of √(d² + c²) − c: squared where the difference is small beside c, absolute where it is large → []. */
export function huber(a: Value, b: Value, c: number): Value {
  const d = sub(a, b);
  return mean(sub(sqrt(add(square(d), c * c)), c), axesOf(d));
}
