/** Typed reading of a JSON configuration: a wrong type or an unsupported value is an error that names the field. */

import { check } from "../core/assert.ts";

export type Json = Readonly<Record<string, unknown>>;

/** The fields of one file. A field that is absent or null has its fallback. All methods throw KoalaError E_CONFIG. */
export class Fields {
  readonly json: Json;
  /** The file's name, for messages. */
  readonly where: string;

  constructor(json: Json, where: string) {
    this.json = json;
    this.where = where;
  }

  #check(holds: boolean, key: string, expected: string, hint?: string): void {
    check(holds, "E_CONFIG", () => ({
      where: `${this.where} (${key})`,
      expected,
      got: JSON.stringify(this.json[key]) ?? "nothing",
      ...(hint === undefined ? {} : { hint }),
    }));
  }

  number(key: string, fallback: number): number;
  number(key: string, fallback: null): number | null;
  number(key: string, fallback: number | null): number | null {
    const value = this.json[key] ?? fallback;
    this.#check(value === null || typeof value === "number", key, "a number");
    return value as number | null;
  }

  /** A whole number of at least `least`. */
  count(key: string, fallback: number, least: number): number {
    const value = this.json[key] ?? fallback;
    this.#check(
      Number.isSafeInteger(value) && Number(value) >= least,
      key,
      `a whole number of at least ${least}`,
    );
    return value as number;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.json[key] ?? fallback;
    this.#check(typeof value === "boolean", key, "true or false");
    return value as boolean;
  }

  /** `hint` is the way on where it is none of them. */
  oneOf<T extends string | number>(key: string, supported: readonly T[], fallback: T, hint?: string): T {
    const value = this.json[key] ?? fallback;
    this.#check(
      (supported as readonly unknown[]).includes(value),
      key,
      supported.length === 1
        ? `${JSON.stringify(supported[0])}, the only one supported`
        : `one of ${supported.map((v) => JSON.stringify(v)).join(", ")}`,
      hint,
    );
    return value as T;
  }

  numbers(key: string): readonly number[] | null {
    const value = this.json[key] ?? null;
    this.#check(
      value === null || (Array.isArray(value) && value.every((v) => typeof v === "number")),
      key,
      "a list of numbers, or null",
    );
    return value as readonly number[] | null;
  }

  /** A field that would change the result if it were off, and then is not supported. */
  mustBeOn(key: string): void {
    this.#check((this.json[key] ?? true) === true, key, "true or null, since its opposite is not supported");
  }

  /** Fields that would change the result if they were on, and are not supported. */
  mustBeOff(...keys: readonly string[]): void {
    for (const key of keys) {
      const value = this.json[key] ?? false;
      this.#check(value === false, key, "false or null, since this feature is not supported");
    }
  }
}
