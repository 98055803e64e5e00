/** Compare: one prompt and seed over values of a setting, or of two, or over the steps of one picture. */

import { useSignal } from "@preact/signals";
import { type Asked, drawingOrder, gridOf, isAxis } from "../comparison.ts";
import type { Shown } from "../engines.ts";
import type { Studio } from "../state.ts";
import { PictureView } from "./picture.tsx";
import { choicesOf, Field, labelOf } from "./settings.tsx";

interface Cell {
  readonly column: string;
  readonly row: string;
  readonly shown: Shown | null;
  readonly seconds: number | null;
  /** That who drew it held. */
  readonly bytes: number | null;
}

const starts: Readonly<Record<string, string>> = {
  steps: "4, 8, 20",
  scheduler: "euler, dpmpp-2m",
  guidance: "1, 3.5, 7",
};
/** As the paper's figures show it. */
const stripEvery = 2;
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
  /** What may stand there, where it is one of a few words. */
  const choices = (key: string): readonly string[] => {
    const field = fieldOf(key);
    return key === "model" ? models.value.map(({ title }) => title) : field ? choicesOf(field, studio) : [];
  };
  const suggestion = (key: string): string => starts[key] ?? choices(key).join(", ");

  const put = (column: string, row: string, change: Partial<Cell>): void => {
    cells.value = cells.value.map((cell) =>
      cell.column === column && cell.row === row ? { ...cell, ...change } : cell,
    );
  };

  async function drawOne({ column, row, model: name, request }: Asked, signal: AbortSignal): Promise<void> {
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
      const ground = { request: fixed, model: first, models: models.value, fields };
      const across = { key: x.value, values: xs.value };
      const grid = gridOf(across, { key: y.value, values: ys.value }, ground);
      cells.value = grid.map(({ column, row }) => ({ column, row, shown: null, seconds: null, bytes: null }));
      for (const asked of drawingOrder(grid)) await drawOne(asked, signal);
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
          title={choices(key.value).length === 0 ? "" : `of ${choices(key.value).join(", ")}`}
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
