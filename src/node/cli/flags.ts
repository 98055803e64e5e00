/** The request's schema as command line flags, and back. */

import type { Command } from "commander";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { nearest } from "../../core/nearest.ts";
import { type VaeChoice, vaeChoices } from "../../pipeline/memory.ts";
import { listFromText, type RequestField, requestFields } from "../../pipeline/request.ts";
import { numberOf, whole } from "./numbers.ts";

type Options = Readonly<Record<string, unknown>>;

/** The fields that are flags; the prompt is the command's argument. */
const flagFields = (): RequestField[] => requestFields().filter(({ key }) => key !== "prompt");

const camelCase = (flag: string): string =>
  flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** The end of a flag's line in the help: what it takes and what it is when left out. */
function remark({ kind, allowed, fallback }: RequestField): string {
  const takes = ["number", "choice", "list"].includes(kind) ? `: ${allowed}` : "";
  return `${takes}${typeof fallback === "number" ? ` (default ${fallback})` : ""}`;
}

/** All of them, or those of some fields. */
export function addRequestFlags(command: Command, only?: readonly string[]): void {
  for (const field of flagFields()) {
    if (only?.includes(field.key) === false) continue;
    const { flag, argument, description } = field;
    command.option(`--${flag}${argument === null ? "" : ` <${argument}>`}`, description + remark(field));
  }
}

/** What a field is called on the command line. */
export function flagOf(key: string): string {
  const field = requestFields().find((candidate) => candidate.key === key);
  return field === undefined ? key : key === "prompt" ? "PROMPT" : `--${field.flag}`;
}

/** A flag's text as the schema wants it; what does not fit stays text, for the schema to refuse it. */
function fromText(text: string, kind: RequestField["kind"]): unknown {
  if (kind === "number") {
    const value = Number(text);
    return text.trim() === "" || (Number.isNaN(value) && text !== "NaN") ? text : value;
  }
  if (kind === "list") return listFromText(text);
  if (kind === "size" || kind === "offset") {
    const [, a, b] = /^(\d+) *[x, ] *(\d+)$/.exec(text) ?? [];
    if (a === undefined || b === undefined) return text;
    return kind === "size" ? { width: Number(a), height: Number(b) } : { left: Number(a), top: Number(b) };
  }
  return text;
}

/** The flags that were given, as fields of a request, not yet checked; all of them, or those of some fields. */
export function requestFromFlags(options: Options, only?: readonly string[]): Record<string, unknown> {
  const request: Record<string, unknown> = {};
  for (const { key, flag, kind } of flagFields()) {
    if (only?.includes(key) === false) continue;
    const value = options[camelCase(flag)];
    if (value !== undefined) request[key] = typeof value === "string" ? fromText(value, kind) : value;
  }
  return request;
}

/** More threads than any machine that this package was tried on has. */
const mostThreads = 1024;

/** @throws KoalaError E_FLAG */
export const threadsFrom = (text: string | undefined): number | undefined =>
  numberOf("--threads", text, undefined, whole(1, mostThreads));

/** `FILE`, or `FILE:0.8`. @throws KoalaError E_FLAG for a weight that is none */
export function loraFrom(text: string): { location: string; weight: number } {
  const colon = text.lastIndexOf(":");
  const tail = text.slice(colon + 1);
  // a Windows drive and a path after a colon are no weights
  if (colon < 0 || /[\\/]/.test(tail)) return { location: text, weight: 1 };
  const weight = Number(tail);
  check(
    tail.trim() !== "" && Number.isFinite(weight) && Math.abs(weight) <= mostLoraWeight,
    "E_FLAG",
    () => ({
      where: "--lora",
      expected: `FILE or FILE:WEIGHT, the weight from -${mostLoraWeight} to ${mostLoraWeight}`,
      got: JSON.stringify(text),
    }),
  );
  return { location: text.slice(0, colon), weight };
}

/** Beyond it pictures fall apart; A1111 and ComfyUI offer less. */
const mostLoraWeight = 10;

/** One of a list of names, or its nearest as a hint. @throws KoalaError E_FLAG */
export function oneOf<T extends string>(where: string, name: string, known: readonly T[]): T {
  const found = known.find((one) => one === name);
  if (found !== undefined) return found;
  const near = nearest(name, known)[0];
  throw new KoalaError("E_FLAG", {
    where,
    expected: `one of ${known.join(", ")}`,
    got: JSON.stringify(name),
    ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
  });
}

/** "a,b" as names. @throws KoalaError E_FLAG */
export function someOf<T extends string>(
  flag: string,
  text: string | undefined,
  known: readonly T[],
): T[] | undefined {
  return text?.split(",").map((name) => oneOf(flag, name.trim(), known));
}

/**
 * "2GB", "1500 MB", "2GiB" in bytes.
 * @throws KoalaError E_FLAG
 */
export function memoryFrom(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?) *([kmg]i?b)$/i.exec(text) ?? [];
  const base = unit.length === 3 ? 1024 : 1000;
  const bytes = Number(amount) * base ** ("kmg".indexOf(unit.charAt(0).toLowerCase()) + 1);
  check(amount !== undefined && bytes > 0, "E_FLAG", () => ({
    where: "--memory",
    expected: "a size such as 4GB, 1500MB or 2GiB",
    got: JSON.stringify(text),
  }));
  return bytes;
}

/** How to decode, or by what: `auto`, `full`, `tiled`; `tiny`, a folder or a hub id. */
export function vaeFrom(text: string | undefined): { vae?: VaeChoice; otherVae?: string } {
  if (text === undefined) return {};
  const how = vaeChoices.find((name) => name === text);
  if (how !== undefined) return { vae: how };
  // what is no path is a word that was mistyped
  check(text === "tiny" || /[\\/]/.test(text), "E_FLAG", () => ({
    where: "--vae",
    expected: `one of ${vaeChoices.join(", ")}, tiny, or a VAE's folder or hub id`,
    got: JSON.stringify(text),
  }));
  return { otherVae: text };
}
