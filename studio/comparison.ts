/** The pictures of a grid over values of one setting or two, as requests, and the order to draw them in. */

import { KoalaError, parseRequest, type RequestField, type RequestInput } from "koala-diffusion";
import type { Model } from "./engines.ts";

/** `model` or a field of the request, and its values with commas between them; an empty key is no axis. */
export interface Axis {
  readonly key: string;
  readonly values: string;
}

/** One picture of the grid. */
export interface Asked {
  readonly column: string;
  readonly row: string;
  readonly model: string;
  readonly request: RequestInput;
}

export interface Ground {
  /** What all pictures share, but for what the axes say. */
  readonly request: RequestInput;
  readonly model: string;
  readonly models: readonly Model[];
  readonly fields: readonly RequestField[];
}

/** An axis takes any setting that one word can say, and the model. */
export const isAxis = ({ key, kind }: RequestField): boolean =>
  (kind === "number" || kind === "choice" || key === "negativePrompt") && key !== "count";

/** More would take an evening, and no screen shows them. */
const mostPictures = 36;

const listed = (text: string): string[] => [
  ...new Set(
    text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== ""),
  ),
];

/**
 * Row by row, each checked before any is drawn.
 * @throws KoalaError E_REQUEST
 */
export function gridOf(across: Axis, down: Axis, ground: Ground): Asked[] {
  const columns = listed(across.values);
  const rows = down.key === "" ? [""] : listed(down.values);
  const count = columns.length * rows.length;
  if (count === 0 || count > mostPictures)
    throw new KoalaError("E_REQUEST", {
      where: "compare",
      expected: `1 to ${mostPictures} pictures`,
      got: String(count),
      hint: "Write values with commas between them.",
    });
  return rows.flatMap((row) =>
    columns.map((column) => {
      const said = { [across.key]: column, ...(down.key === "" ? {} : { [down.key]: row }) };
      return { column, row, ...askedOf(said, ground) };
    }),
  );
}

function askedOf(
  { model: title, ...settings }: Readonly<Record<string, string>>,
  { request, model, models, fields }: Ground,
): Pick<Asked, "model" | "request"> {
  const typed = Object.entries(settings).map(([key, text]) => {
    const isNumber = fields.find((field) => field.key === key)?.kind === "number";
    return [key, isNumber ? Number(text) : text] as const;
  });
  return {
    model:
      title === undefined
        ? model
        : (models.find((one) => one.title === title || one.name === title)?.name ?? title),
    request: parseRequest({ ...request, ...Object.fromEntries(typed) }),
  };
}

/** Pictures of one model in one precision follow each other: every change loads anew. */
export function drawingOrder(grid: readonly Asked[]): Asked[] {
  const loadOf = ({ model, request }: Asked): string => `${model} ${request.precision ?? ""}`;
  return [...new Set(grid.map(loadOf))].flatMap((load) => grid.filter((asked) => loadOf(asked) === load));
}
