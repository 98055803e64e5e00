/** Bodies from outside: read up to a bound, as JSON objects. */

import type { Context } from "hono";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { quoted } from "../../core/quoted.ts";

/** Two texts of 10,000 characters, each of at most 12 bytes as an escape, and everything else many times over. */
export const jsonBytes: number = 512 * 1024;
/** A PNG of 2048 x 2048 px that does not compress takes 12.6 MB, in base64 a third more: room for one and its mask. */
export const pictureBytes: number = 32 * 1024 * 1024;
/** Of arrays and objects in one another. Clients send fewer than ten; what echoes or keeps a body has stack for thousands. */
const mostLevels = 100;

const tooLarge = (most: number): KoalaError =>
  new KoalaError("E_TOO_LARGE", { where: "body", expected: `at most ${most} bytes`, got: "more" });

/** @throws KoalaError E_TOO_LARGE */
export async function readBody(c: Context, most: number): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(c.req.header("content-length") ?? 0) > most) throw tooLarge(most);
  const chunks: Uint8Array[] = [];
  let length = 0;
  const body = c.req.raw.body;
  if (body !== null)
    for await (const chunk of body) {
      length += chunk.length;
      if (length > most) throw tooLarge(most);
      chunks.push(chunk);
    }
  return new Uint8Array(Buffer.concat(chunks));
}

/** Whether it holds more than `room` arrays and objects in one another. */
const isDeeper = (value: unknown, room: number): boolean =>
  typeof value === "object" &&
  value !== null &&
  (room === 0 || Object.values(value).some((one) => isDeeper(one, room - 1)));

export type JsonObject = Readonly<Record<string, unknown>>;

/** @throws KoalaError E_REQUEST when it is no JSON object, or one nested too deeply; E_TOO_LARGE */
export const readJsonObject = async (c: Context, most: number = jsonBytes): Promise<JsonObject> =>
  objectIn(await readBody(c, most));

function objectIn(bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    value = undefined;
  }
  check(typeof value === "object" && value !== null && !Array.isArray(value), "E_REQUEST", () => ({
    where: "body",
    expected: "a JSON object",
    got: bytes.length === 0 ? "nothing" : value === undefined ? "something else" : quoted(value),
  }));
  check(!isDeeper(value, mostLevels), "E_REQUEST", () => ({
    where: "body",
    expected: `a JSON object of at most ${mostLevels} levels`,
    got: "more",
  }));
  return value as JsonObject;
}

/**
 * A body that may hold pictures in base64, in `fields`; one without them is as small as any other.
 * @throws KoalaError E_REQUEST, E_TOO_LARGE
 */
export async function readObjectWithPictures(c: Context, fields: readonly string[]): Promise<JsonObject> {
  const bytes = await readBody(c, pictureBytes);
  if (bytes.length <= jsonBytes) return objectIn(bytes);
  if (bytes[0] !== "{".charCodeAt(0)) throw tooLarge(jsonBytes);
  const body = objectIn(bytes);
  if (fields.some((field) => body[field] !== undefined && body[field] !== null)) return body;
  throw tooLarge(jsonBytes);
}

/** A number in a query string. @throws KoalaError E_REQUEST */
export function queryNumber(c: Context, name: string, least: number, most: number): number | undefined {
  const text = c.req.query(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  check(/^\d+$/.test(text) && value >= least && value <= most, "E_REQUEST", () => ({
    where: name,
    expected: `a whole number from ${least} to ${most}`,
    got: JSON.stringify(text.slice(0, 80)),
  }));
  return value;
}
