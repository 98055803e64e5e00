/** Compare: one prompt and seed over values of a setting, or of two, or over the steps of one picture. */

import { useSignal } from "@preact/signals";
import { KoalaError, type RequestField, type RequestInput } from "koala-diffusion";
import type { Shown } from "../engines.ts";
import type { Studio } from "../state.ts";
import { PictureView } from "./picture.tsx";
import { Field, labelOf } from "./settings.tsx";

interface Cell {
  readonly column: string;
  readonly row: string;
  readonly shown: Shown | null;
  readonly seconds: number | null;
  /** That who drew it held. */
  readonly bytes: number | null;
}

/** An axis takes any setting that one word can say, and the model. */
const isAxis = ({ key, kind }: RequestField): boolean =>
  (kind === "number" || kind === "choice" || key === "negativePrompt") && key !== "count";

const starts: Readonly<Record<string, string>> = {
  steps: "4, 8, 20",
  scheduler: "euler, dpmpp-2m",
  guidance: "1, 3.5, 7",
};
/** As the paper's figures show it. */
const stripEvery = 2;
const mostCells = 36;

const listed = (text: string): string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

function typed(field: RequestField | undefined, text: string): unknown {
  return field?.kind === "number" ? Number(text) : text;
}

const costOf = (seconds: number | null, bytes: number | null): string =>
  seconds === null
    ? " "
    : `${seconds.toFixed(1)} s${bytes === null ? "" : ` · ${(bytes / 1e9).toFixed(2)} GB`}`;

export function Compare({ studio }: { readonly studio: Studio }) {
  const mode = useSignal<"values" | "strip">("values");
  const x = useSignal("steps");
  const xs = useSignal(starts.steps ?? "");
  const y = useSignal("");
  const ys = useSignal("");
  const cells = useSignal<readonly Cell[]>([]);
  const { fields, isBusy, models, model } = studio;
  const axes = ["model", ...fields.filter(isAxis).map(({ key }) => key as string)];
  const fieldOf = (key: string) => fields.find((field) => field.key === key);
  const prompt = fieldOf("prompt");
  const suggestion = (key: string): string =>
    key === "model" ? models.value.map(({ title }) => title).join(", ") : (starts[key] ?? "");

  const put = (column: string, row: string, change: Partial<Cell>): void => {
    cells.value = cells.value.map((cell) =>
      cell.column === column && cell.row === row ? { ...cell, ...change } : cell,
    );
  };

  async function drawOne(
    column: string,
    row: string,
    request: RequestInput,
    name: string,
    signal: AbortSignal,
  ): Promise<void> {
    await studio.engine.open(name, { signal, onBytes() {}, onWarning() {} });
    for await (const event of studio.engine.draw(name, request, { signal })) {
      if (event.type === "preview") put(column, row, { shown: event.shown });
      if (event.type === "picture") {
        const { url, seconds, bytes } = event.drawing;
        put(column, row, { shown: { url }, seconds, bytes });
      }
    }
  }

  const run = () =>
    studio.exclusively(async (signal) => {
      const base = studio.request();
      const fixed = { seed: 7, ...base, count: 1 };
      const first = model.value?.name;
      if (first === undefined) return;
      if (mode.value === "strip") {
        cells.value = [];
        for await (const event of studio.engine.draw(first, fixed, { signal })) {
          const add = (column: string, shown: Shown, of: Pick<Cell, "seconds" | "bytes">): void => {
            cells.value = [...cells.value, { column, row: "", shown, ...of }];
          };
          if (event.type === "preview" && event.step % stripEvery === 0)
            add(`step ${event.step}`, event.shown, { seconds: null, bytes: null });
          if (event.type === "picture") {
            const { url, seconds, bytes } = event.drawing;
            add("done", { url }, { seconds, bytes });
          }
        }
        return;
      }
      const columns = [...new Set(listed(xs.value))];
      const rows = y.value === "" ? [""] : [...new Set(listed(ys.value))];
      if (columns.length === 0 || rows.length === 0 || columns.length * rows.length > mostCells)
        throw new KoalaError("E_REQUEST", {
          where: "compare",
          expected: `1 to ${mostCells} pictures`,
          got: String(columns.length * rows.length),
          hint: "Write values with commas between them.",
        });
      cells.value = rows.flatMap((row) =>
        columns.map((column) => ({ column, row, shown: null, seconds: null, bytes: null })),
      );
      for (const row of rows)
        for (const column of columns) {
          const chosen = { [x.value]: column, ...(y.value === "" ? {} : { [y.value]: row }) };
          const { model: title, ...settings } = chosen;
          const name =
            title === undefined
              ? first
              : (models.value.find((one) => one.title === title || one.name === title)?.name ?? title);
          const said = Object.fromEntries(
            Object.entries(settings).map(([key, text]) => [key, typed(fieldOf(key), text)]),
          );
          await drawOne(column, row, { ...fixed, ...said }, name, signal);
        }
    });

  const axis = (label: string, key: typeof x, values: typeof xs, isOptional: boolean) => (
    <div class="axis">
      <label>
        {label}
        <select
          value={key.value}
          onChange={(event) => {
            key.value = event.currentTarget.value;
            values.value = suggestion(key.value);
          }}
        >
          {isOptional && <option value="">nothing</option>}
          {axes.map((name) => (
            <option key={name} value={name}>
              {labelOf(name)}
            </option>
          ))}
        </select>
      </label>
      <label class="grow">
        <span>Values, with commas</span>
        <input
          type="text"
          value={values.value}
          disabled={key.value === ""}
          onInput={(event) => {
            values.value = event.currentTarget.value;
          }}
        />
      </label>
    </div>
  );

  const columns = [...new Set(cells.value.map(({ column }) => column))];
  const rows = [...new Set(cells.value.map(({ row }) => row))];
  return (
    <div class="compare">
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        {prompt !== undefined && <Field field={prompt} studio={studio} />}
        <fieldset class="row">
          <legend class="sr">What to compare</legend>
          <label class="check">
            <input
              type="radio"
              name="mode"
              checked={mode.value === "values"}
              onChange={() => {
                mode.value = "values";
              }}
            />{" "}
            Values of a setting
          </label>
          <label class="check">
            <input
              type="radio"
              name="mode"
              checked={mode.value === "strip"}
              onChange={() => {
                mode.value = "strip";
              }}
            />{" "}
            Steps of one picture
          </label>
        </fieldset>
        {mode.value === "values" && axis("Across", x, xs, false)}
        {mode.value === "values" && axis("Down", y, ys, true)}
        <div class="row">
          <button type="submit" class="main" disabled={isBusy.value || model.value === null}>
            Compare
          </button>
          {isBusy.value && (
            <button type="button" onClick={studio.cancel}>
              Cancel <kbd>Esc</kbd>
            </button>
          )}
          <span class="hint">
            Same prompt and seed ({String(studio.form.value.seed ?? 7)}) in every picture; other settings are
            those of Draw.
          </span>
        </div>
      </form>
      {cells.value.length === 0 ? (
        <p class="empty card">
          Pictures appear side by side here, each with the time and the memory that it took.
        </p>
      ) : (
        <div class="card scroll">
          <table class={mode.value === "strip" ? "grid strip" : "grid"}>
            <caption class="sr">Pictures by {labelOf(x.value)}</caption>
            <thead>
              <tr>
                {y.value !== "" && mode.value === "values" && (
                  <th scope="col">
                    {labelOf(y.value)} ↓ {labelOf(x.value)} →
                  </th>
                )}
                {columns.map((column) => (
                  <th scope="col" key={column}>
                    {mode.value === "strip" ? column : `${labelOf(x.value)} ${column}`}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row}>
                  {y.value !== "" && mode.value === "values" && <th scope="row">{row}</th>}
                  {cells.value
                    .filter((cell) => cell.row === row)
                    .map(({ column, shown, seconds, bytes }) => (
                      <td key={column}>
                        <div class="cell">
                          {shown !== null && <PictureView shown={shown} label={`${column} ${row}`} />}
                        </div>
                        <span class="seconds">{costOf(seconds, bytes)}</span>
                      </td>
                    ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}
