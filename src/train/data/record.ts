/**
 * What a data set's record (a row of parquet, a line of metadata.jsonl, a JSON file of a shard) says about its picture:
 * captions, group, weight. All kinds of source answer by this one rule.
 */

import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";

export type DataRecord = Readonly<Record<string, unknown>>;

/**
 * The fields that may hold the caption, in the order in which they are tried. The last three are those of LAION-POP
 * and ye-pop: LLaVA's and CogVLM's descriptions, and the page's own alternative text, which is the poorest.
 */
export const captionFields: readonly string[] = [
  "caption",
  "text",
  "llava_caption",
  "cogvlm_caption",
  "alt_txt",
];

export interface RecordOptions {
  /** The caption's fields in the order to be tried; the first that is not empty is taken. Absent: `captionFields`. */
  readonly captions?: readonly string[];
  /** Whether pictures without a caption are taken too: to train a VAE. */
  readonly isCaptionOptional?: boolean;
  /** Field that names the group to balance by. */
  readonly group?: string;
  /** Field with how often to draw the sample, in relation to others. */
  readonly weight?: string;
}

export interface Described {
  readonly captions: readonly string[];
  readonly group: string | null;
  readonly weight: number;
}

/** Texts of one field: a text, or a list of equally good ones; blanks at the ends are dropped, empty ones left out. */
function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list
    .filter((text) => typeof text === "string")
    .map((text) => text.trim())
    .filter((text) => text !== "");
}

/**
 * `record` with the text of a file beside its picture (null: there is none) as its field `text`. The record's own goes first,
 * but where it is blank it says nothing, and hides nothing.
 */
export const withText = (record: DataRecord, text: string | null): DataRecord =>
  text === null || texts(record.text).length > 0 ? record : { ...record, text };

/**
 * What `record` says. `captions` is empty where no field holds one.
 * @throws KoalaError E_CONFIG when the weight is not a number above 0
 */
export function describe(record: DataRecord, where: string, o: RecordOptions): Described {
  const fields = o.captions ?? captionFields;
  const captions = fields.map((field) => texts(record[field])).find((found) => found.length > 0) ?? [];
  const group = o.group === undefined ? undefined : record[o.group];
  const weight = o.weight === undefined ? 1 : Number(record[o.weight]);
  check(Number.isFinite(weight) && weight > 0, "E_CONFIG", () => ({
    where: `${where} (${o.weight})`,
    expected: "a weight above 0",
    got: String(record[o.weight ?? ""]),
  }));
  return { captions, group: group === undefined || group === null ? null : String(group), weight };
}

/** Why a picture has no caption, where neither a text beside it nor its record has one; fields that were asked for are named. */
export const noCaption = (text: string, record: string, { captions }: RecordOptions): string =>
  captions === undefined
    ? `neither ${text} nor ${record} has one`
    : `neither ${text}, which is the field text, nor ${record} has ${captions.join(" or ")}`;

/**
 * Holds that a table has a caption column at all.
 * @throws KoalaError E_CONFIG
 */
export function checkColumns(columns: readonly string[], where: string, o: RecordOptions): void {
  const fields = o.captions ?? captionFields;
  const wanted = [
    ...(o.group === undefined ? [] : [o.group]),
    ...(o.weight === undefined ? [] : [o.weight]),
  ].filter((name) => !columns.includes(name));
  check(wanted.length === 0, "E_CONFIG", () => ({
    where,
    expected: `a column ${wanted[0]}`,
    got: `the columns ${columns.join(", ")}`,
  }));
  check(o.isCaptionOptional === true || fields.some((f) => columns.includes(f)), "E_CONFIG", () => ({
    where,
    expected: `a caption column: ${fields.join(", ")}`,
    got: `the columns ${columns.join(", ")}`,
    hint: "Name the column that holds the caption.",
  }));
}

/**
 * The lines of a metadata.jsonl as Hugging Face's image folders have it: JSON objects with `file_name`, blank lines allowed,
 * a byte order mark too.
 * @throws KoalaError E_FILE naming the line that is none
 */
export function parseMetadata(text: string, where: string): Map<string, DataRecord> {
  const records = new Map<string, DataRecord>();
  for (const [i, line] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    const record = parseObject(line);
    const name = record?.file_name;
    if (record === null || typeof name !== "string")
      throw new KoalaError("E_FILE", {
        where: `${where}, line ${i + 1}`,
        expected: "a JSON object with file_name",
        got: line.length > 60 ? `${line.slice(0, 60)}…` : line,
      });
    records.set(name, record);
  }
  return records;
}

/** The object that `text` spells, or null. */
export function parseObject(text: string): DataRecord | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as DataRecord)
      : null;
  } catch {
    return null;
  }
}
