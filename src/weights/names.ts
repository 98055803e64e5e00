/**
 * Name tables as data: a row says what a checkpoint calls a tensor and what diffusers calls it.
 * `{rest}` and `{head}` stand for any text, any other `{x}` for a whole number; on the right, `{x.f}` is the number
 * that the function `x.f` makes of it.
 */

import { check } from "../core/assert.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import type { Derived } from "./stores.ts";

/**
 * What becomes of the tensor besides its name: a 1×1 convolution read as a matrix, a matrix with its axes exchanged,
 * or three stacked blocks of rows (`{qkv}` on the right is q, k and v).
 */
export type Change = "matrix" | "transposed" | "thirds";

export type NameRow = readonly [theirs: string, diffusers: string, change?: Change];

/** What turns a number of their names into one of diffusers', by the name that rows use. */
export type NumberFunctions = Readonly<Record<string, (n: number) => number>>;

interface Rule {
  readonly pattern: RegExp;
  readonly to: string;
  readonly change: Change | undefined;
}

const placeholder = /\{(\w+)(?:\.(\w+))?\}/g;

function compileRow([theirs, to, change]: NameRow): Rule {
  const source = theirs
    .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
    .replace(/\{(\w+)\}/g, (_, name) => `(?<${name}>${name === "rest" || name === "head" ? ".+" : "\\d+"})`);
  return { pattern: new RegExp(`^${source}$`), to, change };
}

export interface Renaming {
  /** diffusers' name → where its data is. */
  readonly derived: ReadonlyMap<string, Derived>;
  /** Names that no row speaks of. */
  readonly surplus: readonly string[];
}

/**
 * Renames the tensors of `source` whose names begin with `prefix`, by the first row that matches.
 * @throws KoalaError E_WEIGHTS when two tensors get the same name
 */
export function rename(
  source: TensorStore,
  o: { prefix?: string; rows: readonly NameRow[]; functions?: NumberFunctions; where: string },
): Renaming {
  const { prefix = "", functions = {}, where } = o;
  const rules = o.rows.map(compileRow);
  const derived = new Map<string, Derived>();
  const surplus: string[] = [];

  function add(name: string, how: Derived): void {
    check(!derived.has(name), "E_WEIGHTS", () => ({
      where,
      expected: `one tensor for ${name}`,
      got: `both ${derived.get(name)?.from} and ${how.from}`,
    }));
    derived.set(name, how);
  }

  for (const [from, stored] of source.tensors) {
    if (!from.startsWith(prefix)) continue;
    const theirs = from.slice(prefix.length);
    const hit = firstMatch(rules, theirs);
    if (hit === null) {
      surplus.push(from);
      continue;
    }
    const groups = hit.groups;
    const to = hit.rule.to.replace(placeholder, (whole, name: string, f?: string) => {
      const value = groups[name];
      if (value === undefined) return whole;
      return f === undefined ? value : String(functions[`${name}.${f}`]?.(Number(value)));
    });
    for (const [name, how] of changes(from, to, stored, hit.rule.change)) add(name, how);
  }
  return { derived, surplus };
}

function firstMatch(
  rules: readonly Rule[],
  name: string,
): { rule: Rule; groups: Record<string, string> } | null {
  for (const rule of rules) {
    const match = rule.pattern.exec(name);
    if (match !== null) return { rule, groups: match.groups ?? {} };
  }
  return null;
}

function changes(
  from: string,
  to: string,
  stored: StoredTensor,
  change: Change | undefined,
): [string, Derived][] {
  const [rows = 0, columns = 0] = stored.shape;
  switch (change) {
    case undefined:
      return [[to, { from }]];
    case "transposed":
      return [[to, { from, isTransposed: true }]];
    case "matrix":
      return [
        [
          to,
          stored.shape.slice(2).some((d) => d !== 1) || stored.shape.length <= 2
            ? { from }
            : { from, shape: [rows, columns] },
        ],
      ];
    case "thirds": {
      const third = Math.floor(rows / 3);
      return ["q", "k", "v"].map((letter, i) => [
        to.replace("{qkv}", letter),
        { from, rows: [i * third, (i + 1) * third] },
      ]);
    }
  }
}
