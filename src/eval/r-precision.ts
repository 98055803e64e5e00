/**
 * R-precision: of K captions, the picture's own and K − 1 others, how often its own is the one that the scorer finds
 * nearest. The others come from the same group, so that telling a cat from a flag is not enough.
 *
 * Source: Xu et al. 2018, arXiv:1711.10485, section 4.1 (AttnGAN), there with K = 100 and others drawn from everywhere.
 */

import { check } from "../core/assert.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { bootstrap, choose, type Estimate, mean, meanEstimate } from "./chance.ts";
import { cosine, type Features, rowOf } from "./features.ts";

/** A caption that others can be confused with. */
export interface Caption {
  readonly text: string;
  /** Null where the data names none. */
  readonly group: string | null;
}

/** One question: which of these captions is it? The first is the picture's own. */
export interface Question {
  /** Number of the picture and of its caption among those asked about. */
  readonly subject: number;
  /** Numbers of the captions in the pool: K of them, the own one first. */
  readonly choices: readonly number[];
}

/**
 * Questions of `ways` captions about the pool's captions number `subjects`, with others from the same group and of
 * another wording; the same seed asks the same. Captions whose group has too few are left out.
 * @throws KoalaError E_CONFIG when the captions have no groups, or no group has enough
 */
export function questions(
  pool: readonly Caption[],
  subjects: readonly number[],
  o: { readonly ways: number; readonly seed: number; readonly where: string },
): { readonly asked: readonly Question[]; readonly leftOut: number } {
  const groups = byGroup(pool, o.where);
  const asked = subjects.flatMap((own, subject) => {
    const { text, group } = pool[own] as Caption;
    const others = (groups.get(group ?? "") ?? []).filter((i) => pool[i]?.text !== text);
    if (others.length < o.ways - 1) return [];
    // each caption has its own draws, so that the others do not depend on which captions come before it
    const drawn = choose(others.length, o.ways - 1, new TorchGenerator((o.seed + own) % 2 ** 32));
    return [{ subject, choices: [own, ...drawn.map((i) => others[i] ?? own)] }];
  });
  check(asked.length > 0, "E_CONFIG", () => {
    const [name, members] = [...groups].reduce((a, b) => (b[1].length > a[1].length ? b : a));
    return {
      where: o.where,
      expected: `${o.ways} captions in a group, for ${o.ways}-way R-precision`,
      got: `at most ${members.length}, in ${JSON.stringify(name)}`,
      hint: "Fewer ways (--ways) or more captions to choose from (--train) would do.",
    };
  });
  return { asked, leftOut: subjects.length - asked.length };
}

/** Numbers of the pool's captions, each wording once, by group. @throws KoalaError E_CONFIG when one has no group */
function byGroup(pool: readonly Caption[], where: string): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  const seen = new Set<string>();
  for (const [i, { text, group }] of pool.entries()) {
    check(group !== null, "E_CONFIG", () => ({
      where,
      expected: "a group with every caption, from which R-precision takes the others",
      got: `none with ${JSON.stringify(text)}`,
      hint: "Name the field that holds it (--group), or leave r-precision out of --metrics.",
    }));
    const key = JSON.stringify([group, text]);
    if (seen.has(key)) continue;
    seen.add(key);
    const members = groups.get(group);
    if (members === undefined) groups.set(group, [i]);
    else members.push(i);
  }
  return groups;
}

/** 1 where the picture's own caption is nearer than every other, else 0; a tie is a miss. */
export function answers(
  asked: readonly Question[],
  pictures: Features,
  captions: (poolNumber: number) => Float32Array,
): number[] {
  return asked.map(({ subject, choices }) => {
    const picture = rowOf(pictures, subject);
    const [own = 0, ...others] = choices.map((i) => cosine(picture, captions(i)));
    return others.every((other) => own > other) ? 1 : 0;
  });
}

export interface RPrecision {
  readonly score: Estimate;
  /** Of the real pictures of the same captions, asked the same. */
  readonly real: Estimate;
  /** `score` over `real`, drawn together; NaN where the scorer finds none of the real ones. */
  readonly ratio: Estimate;
}

/** Scores from the answers to the same questions about drawn and real pictures. */
export function rPrecision(drawn: readonly number[], real: readonly number[], seed: number): RPrecision {
  const of = (values: readonly number[], members: readonly number[]): number =>
    mean(members.map((i) => values[i] ?? 0));
  const ratioOf = (members: readonly number[]): number => {
    const whole = of(real, members);
    return whole === 0 ? Number.NaN : of(drawn, members) / whole;
  };
  return {
    score: meanEstimate(drawn, seed),
    real: meanEstimate(real, seed),
    ratio: bootstrap(drawn.length, ratioOf, seed),
  };
}
