/** Compare: one prompt and seed over values of a setting, or of two, or over the steps of one picture. */

import { effect, type Signal, signal } from "@preact/signals";
import { type Asked, drawingOrder, gridOf, isAxis } from "../comparison.ts";
import { remember, remembered } from "../remember.ts";
import { type Studio, usualSeed } from "../state.ts";
import { type Cell, CompareGrid, type Comparison } from "./compare-grid.tsx";
import { choicesOf, Field, labelOf } from "./settings.tsx";

const starts: Readonly<Record<string, string>> = {
  steps: "4, 8, 20",
  scheduler: "euler, dpmpp-2m",
  guidance: "1, 3.5, 7",
};
/** As the paper's figures show it. */
const stripEvery = 2;

const modes = { values: "Values of a setting", strip: "Steps of one picture" };

/** What the form says. */
interface Typed {
  readonly mode: "values" | "strip";
  readonly across: string;
  readonly acrossValues: string;
  /** Empty: one row. */
  readonly down: string;
  readonly downValues: string;
}

// these outlive the view: one goes to Draw for a setting, and comes back
const typed: Signal<Typed> = signal(
  remembered("compare", {
    ...{ mode: "values", across: "steps", acrossValues: starts.steps ?? "", down: "", downValues: "" },
  }),
);
effect(() => remember("compare", typed.value));
const drawn = signal<Comparison>({ across: null, down: null, cells: [] });

export function Compare({ studio }: { readonly studio: Studio }) {
  const { mode } = typed.value;
  const type = (change: Partial<Typed>): void => {
    typed.value = { ...typed.value, ...change };
  };
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

  const show = (cells: readonly Cell[]): void => {
    drawn.value = { ...drawn.value, cells };
  };
  const put = (column: string, row: string, change: Partial<Cell>): void =>
    show(
      drawn.value.cells.map((cell) =>
        cell.column === column && cell.row === row ? { ...cell, ...change } : cell,
      ),
    );

  async function drawOne({ column, row, model: name, request }: Asked, signal: AbortSignal): Promise<void> {
    const o = { signal, start: await studio.startPicture.files(), ...studio.progress };
    await studio.engine.open(name, o);
    for await (const event of studio.engine.draw(name, request, o)) {
      if (event.type === "warning") o.onWarning(event.message);
      if (event.type === "preview") put(column, row, { shown: event.shown });
      if (event.type === "picture") put(column, row, { drawing: event.drawing });
    }
  }

  async function drawStrip(name: string, request: Asked["request"], signal: AbortSignal): Promise<void> {
    drawn.value = { across: null, down: null, cells: [] };
    const add = (cell: Omit<Cell, "row">): void => show([...drawn.value.cells, { ...cell, row: "" }]);
    const o = { signal, start: await studio.startPicture.files(), ...studio.progress };
    for await (const event of studio.engine.draw(name, request, o)) {
      if (event.type === "warning") o.onWarning(event.message);
      if (event.type === "preview" && event.step % stripEvery === 0)
        add({ column: `step ${event.step}`, shown: event.shown, drawing: null });
      if (event.type === "picture") add({ column: "done", shown: null, drawing: event.drawing });
    }
  }

  const run = () =>
    studio.exclusively(async (signal) => {
      const request = { seed: usualSeed, ...studio.request(), count: 1 };
      const first = model.value?.name;
      if (first === undefined) return;
      if (mode === "strip") return drawStrip(first, request, signal);
      const { across, acrossValues, down, downValues } = typed.value;
      const grid = gridOf(
        { key: across, values: acrossValues },
        { key: down, values: downValues },
        { request, model: first, models: models.value, fields },
      );
      drawn.value = {
        across: labelOf(across),
        down: down === "" ? null : labelOf(down),
        cells: grid.map(({ column, row }) => ({ column, row, shown: null, drawing: null })),
      };
      for (const asked of drawingOrder(grid)) await drawOne(asked, signal);
    }, "comparison");

  const axis = (label: string, key: "across" | "down", values: "acrossValues" | "downValues") => (
    <div class="axis">
      <label>
        {label}
        <select
          value={typed.value[key]}
          onChange={({ currentTarget: { value } }) => type({ [key]: value, [values]: suggestion(value) })}
        >
          {key === "down" && <option value="">nothing</option>}
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
          title={choices(typed.value[key]).length === 0 ? "" : `of ${choices(typed.value[key]).join(", ")}`}
          value={typed.value[values]}
          disabled={typed.value[key] === ""}
          onInput={({ currentTarget: { value } }) => type({ [values]: value })}
        />
      </label>
    </div>
  );

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
        <fieldset class="row modes">
          <legend class="sr">What to compare</legend>
          {Object.entries(modes).map(([name, label]) => (
            <label class="check" key={name}>
              <input
                type="radio"
                name="mode"
                checked={mode === name}
                onChange={() => type({ mode: name as Typed["mode"] })}
              />{" "}
              {label}
            </label>
          ))}
        </fieldset>
        {mode === "values" && axis("Across", "across", "acrossValues")}
        {mode === "values" && axis("Down", "down", "downValues")}
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
            Same prompt and seed ({String(studio.form.value.seed ?? usualSeed)}) in every picture; other
            settings, and the picture to start from, are those of Draw. The first picture of a model or a
            precision takes the time to load it too.
          </span>
        </div>
      </form>
      {drawn.value.cells.length === 0 ? (
        <p class="empty card">
          Pictures appear side by side here, each with the time and the memory that it took.
        </p>
      ) : (
        <CompareGrid
          {...drawn.value}
          open={(drawing) => {
            studio.current.value = drawing;
            location.hash = "#draw";
          }}
        />
      )}
    </div>
  );
}
