/**
 * Contenders against each other: each run in a fresh process, in turn within a round, every round beginning with another
 * one, so that neither the machine's drift nor a neighbour's warmth is always one contender's.
 */

import { KoalaError } from "../../core/errors.ts";
import type { Command, Outcome } from "./child.ts";
import { ratioOf, type Spread, spreadOf } from "./statistics.ts";

export interface Contender {
  /** As it stands in tables: "koala, openvino, int8". */
  readonly name: string;
  readonly isOurs: boolean;
  readonly command: Command;
}

/** One that could not take part, and why, in one sentence. */
export interface Missing {
  readonly name: string;
  readonly why: string;
}

/** A number that is read off runs. */
export interface Measure {
  readonly key: string;
  /** With its unit, as the head of a column. */
  readonly title: string;
  readonly digits: number;
  /** None, one or several of a run. */
  of(run: Outcome): readonly number[];
}

/** A contender with its runs, a round each. */
export interface Standing {
  readonly contender: Contender;
  readonly runs: readonly Outcome[];
}

export interface Contest {
  readonly standings: readonly Standing[];
  readonly missing: readonly Missing[];
}

export interface ContestOptions {
  readonly rounds: number;
  /** Rounds before those that count: they fill caches, of the disk and of compiled programs. */
  readonly warmUps: number;
  run(command: Command): Promise<Outcome>;
  /** Told before each run; rounds count from 1, warm-ups from 0 down. */
  onRun?(name: string, round: number): void;
  onMissing?(missing: Missing): void;
}

/** The contenders in the order of that round, counted from 0. */
export const turns = <T>(all: readonly T[], round: number): T[] =>
  all.map((_, i) => all[(i + round) % all.length] as T);

/** What a process complained of, as a sentence's end. */
const reasonOf = (error: KoalaError): string => error.got.replace(/\.$/, "");

/**
 * Runs all of them. One that fails is out from there on, with its reason; the others go on.
 * @throws what is no failure of a process: an abort
 */
export async function compete(contenders: readonly Contender[], o: ContestOptions): Promise<Contest> {
  const missing: Missing[] = [];
  const runs = new Map<Contender, Outcome[]>(contenders.map((contender) => [contender, []]));
  for (let round = -o.warmUps; round < o.rounds; round++) {
    for (const contender of turns([...runs.keys()], Math.max(0, round))) {
      o.onRun?.(contender.name, round + 1);
      try {
        const outcome = await o.run(contender.command);
        if (round >= 0) runs.get(contender)?.push(outcome);
      } catch (error) {
        if (!(error instanceof KoalaError)) throw error;
        runs.delete(contender);
        const one = { name: contender.name, why: reasonOf(error) };
        missing.push(one);
        o.onMissing?.(one);
      }
    }
  }
  const standings = contenders.flatMap((contender) => {
    const its = runs.get(contender);
    return its === undefined ? [] : [{ contender, runs: its }];
  });
  return { standings, missing };
}

/** The numbers of a contender, a list a round. */
const numbersOf = ({ runs }: Standing, { of }: Measure): (readonly number[])[] => runs.map((run) => of(run));

export const spreadIn = (standing: Standing, measure: Measure): Spread | null =>
  spreadOf(numbersOf(standing, measure).flat());

/** One of ours over one of theirs, by one measure. */
export interface Ratio {
  readonly measure: string;
  readonly ours: string;
  readonly theirs: string;
  readonly ratio: Spread;
}

export function ratiosOf(standings: readonly Standing[], measure: Measure): Ratio[] {
  const theirs = standings.filter(({ contender }) => !contender.isOurs);
  return standings
    .filter(({ contender }) => contender.isOurs)
    .flatMap((ours) =>
      theirs.flatMap((its) => {
        const ratio = ratioOf(numbersOf(ours, measure), numbersOf(its, measure));
        if (ratio === null) return [];
        return [{ measure: measure.key, ours: ours.contender.name, theirs: its.contender.name, ratio }];
      }),
    );
}
