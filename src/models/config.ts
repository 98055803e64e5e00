/**
 * Reads a model's config.json: every field is taken, checked to be what the model computes, or refused by name.
 * A field that nobody asks for might change the result, so it may only be absent, null or false.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

const show = (value: Json | undefined): string => (value === undefined ? "nothing" : JSON.stringify(value));

/** @throws KoalaError E_CONFIG unless `value` is an object as JSON writes them */
export function jsonObject(value: unknown, where: string): JsonObject {
  check(typeof value === "object" && value !== null && !Array.isArray(value), "E_CONFIG", () => ({
    where,
    expected: "a JSON object",
    got: value === undefined ? "nothing" : JSON.stringify(value),
  }));
  return value as JsonObject;
}

/** One pass over the fields of a config. Absent and null mean the default, where there is one. */
export class ConfigReader {
  readonly where: string;
  readonly #json: JsonObject;
  readonly #seen = new Set<string>();

  /** `where` is what errors call the file: `unet/config.json`. @throws KoalaError E_CONFIG when it is no object */
  constructor(json: unknown, where: string) {
    this.where = where;
    this.#json = jsonObject(json, where);
  }

  /** The error of a field that is not as `expected`. */
  wrong(field: string, expected: string, hint?: string): KoalaError {
    return new KoalaError("E_CONFIG", {
      where: `${this.where} (${field})`,
      expected,
      got: show(this.#json[field]),
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** The field as it stands; undefined where it is absent or null. */
  raw(field: string): Json | undefined {
    this.#seen.add(field);
    return this.#json[field] ?? undefined;
  }

  /** Whether the file says null, which a few fields tell from being absent. */
  isNull(field: string): boolean {
    this.#seen.add(field);
    return this.#json[field] === null;
  }

  number(field: string, fallback?: number): number {
    const value = this.raw(field) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value)) throw this.wrong(field, "a number");
    return value;
  }

  /** A whole number of at least 1. */
  count(field: string, fallback?: number): number {
    const value = this.raw(field) ?? fallback;
    if (!isCount(value)) throw this.wrong(field, "a whole number of at least 1");
    return value;
  }

  boolean(field: string, fallback: boolean): boolean {
    const value = this.raw(field) ?? fallback;
    if (typeof value !== "boolean") throw this.wrong(field, "true or false");
    return value;
  }

  /** Whole numbers of at least 1; one alone stands for `length` of them. */
  counts(
    field: string,
    o: { readonly length?: number; readonly fallback?: number | readonly number[] },
  ): number[] {
    const value = this.raw(field) ?? o.fallback;
    const list = isCount(value) && o.length !== undefined ? Array<number>(o.length).fill(value) : value;
    if (
      !Array.isArray(list) ||
      !list.every(isCount) ||
      (o.length !== undefined && list.length !== o.length)
    ) {
      const many = o.length === undefined ? "a list of whole numbers" : `${o.length} whole numbers`;
      throw this.wrong(field, `${many} of at least 1`);
    }
    return list;
  }

  /** One string of the list; absent means the first. */
  choice<T extends string>(field: string, allowed: readonly [T, ...T[]]): T {
    const value = this.raw(field) ?? allowed[0];
    const found = allowed.find((name) => name === value);
    if (found === undefined) throw this.wrong(field, allowed.join(" or "));
    return found;
  }

  /** A list of strings, each of `allowed`. */
  choices(field: string, allowed: readonly string[], fallback?: readonly string[]): string[] {
    const value = this.raw(field) ?? fallback;
    if (!Array.isArray(value)) throw this.wrong(field, `a list of ${allowed.join(" and ")}`);
    for (const name of value) {
      if (!allowed.includes(name)) throw this.wrong(field, `a list of ${allowed.join(" and ")}`);
    }
    return value;
  }

  /** Refuses any other value than these in fields that change the result; absent and null are what the first says. */
  only(fields: Readonly<Record<string, readonly Json[]>>): void {
    for (const [field, allowed] of Object.entries(fields)) {
      const value = this.raw(field);
      if (value !== undefined && !allowed.includes(value))
        throw this.wrong(field, allowed.map(show).join(" or "));
    }
  }

  /** Fields that change nothing that is computed here. */
  ignore(...fields: readonly string[]): void {
    for (const field of fields) this.#seen.add(field);
  }

  /** Call last. @throws KoalaError E_CONFIG naming the first field that was not read and is set */
  finish(): void {
    for (const [field, value] of Object.entries(this.#json)) {
      if (this.#seen.has(field) || field.startsWith("_") || value === null || value === false) continue;
      throw this.wrong(
        field,
        "only fields that this model knows",
        "If it does not change what the network computes, remove it from the file.",
      );
    }
  }
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 1;
