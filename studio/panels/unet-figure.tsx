/** The U-Net drawn by stage: parameters as bars, arithmetic beside them, and another model's beside it. */

import { signal } from "@preact/signals";
import type { Structure } from "koala-diffusion/web";
import { useEffect } from "preact/hooks";
import { problemOf, type Studio } from "../state.ts";

const millions = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toFixed(2)} B` : `${(n / 1e6).toFixed(1)} M`;
const operations = (n: number): string =>
  n >= 1e12 ? `${(n / 1e12).toFixed(2)} T` : `${(n / 1e9).toFixed(1)} G`;

/** Milliseconds with three digits at most. */
const milliseconds = (seconds: number): string =>
  seconds >= 1 ? `${seconds.toFixed(1)} s` : `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;

type Times = Readonly<Record<string, number>>;

// these outlive the view
const own = signal<Structure | null>(null);
const beside = signal<Structure | null>(null);
/** The option that is beside it: `model:NAME` or `preset:NAME`. */
const chosen = signal("");
const times = signal<Readonly<Record<string, Times>>>({});
const measuring = signal("");

export function UNetFigure({ studio }: { readonly studio: Studio }) {
  const { engine, model, models } = studio;
  const { name, location } = model.value ?? {};
  const load = async (of: { model: string } | { preset: string }, into: typeof own): Promise<void> => {
    try {
      into.value = await engine.structure(of);
    } catch (error) {
      studio.problem.value = problemOf(error);
      if (into === beside) [beside.value, chosen.value] = [null, ""]; // so that it can be chosen again
    }
  };
  const isBusy = studio.isBusy.value;
  useEffect(() => {
    if (name !== undefined && !isBusy && own.value?.name !== location) void load({ model: name }, own);
  }, [name, isBusy]);
  const presets = own.value?.presets ?? [];
  const others = models.value.filter((one) => one.name !== name);
  /** A structure is called by its model's location. */
  const modelOf = (its: string) => models.value.find((one) => one.location === its);
  const figures = [own.value, beside.value].filter((found) => found !== null);
  const most = Math.max(1, ...figures.flatMap(({ census }) => Object.values(census.stages)));

  const measure = (): Promise<void> =>
    studio.exclusively(async (signal) => {
      for (const { name: its } of figures) {
        const one = modelOf(its);
        if (one === undefined) continue; // a published model that is not here has no weights to run
        measuring.value = `Measuring ${one.title}`;
        try {
          const found = await engine.times(one.name, {
            ...{ signal, ...studio.progress },
            onStep: (done, stages) => {
              measuring.value = `Measuring ${one.title}: ${done} of ${stages} stages`;
            },
          });
          times.value = { ...times.value, [its]: found };
        } finally {
          measuring.value = "";
        }
      }
    });

  return (
    <section class="card unet" aria-label="U-Net">
      <div class="row">
        <h2>The U-Net by stage</h2>
        <div class="row">
          <span class="hint" role="status">
            {measuring.value}
          </span>
          <button type="button" disabled={isBusy || own.value === null} onClick={() => void measure()}>
            Measure time
          </button>
          <label>
            Beside it{" "}
            <select
              disabled={isBusy}
              value={chosen.value}
              onChange={(event) => {
                chosen.value = event.currentTarget.value;
                const [kind, what = ""] = event.currentTarget.value.split(/:(.*)/s);
                if (kind === "") beside.value = null;
                else void load(kind === "preset" ? { preset: what } : { model: what }, beside);
              }}
            >
              <option value="">nothing</option>
              {others.map((one) => (
                <option key={one.name} value={`model:${one.name}`}>
                  {one.title}
                </option>
              ))}
              {presets.map((preset) => (
                <option key={preset} value={`preset:${preset}`}>
                  {preset}
                </option>
              ))}
            </select>
          </label>
        </div>
      </div>
      {own.value === null ? (
        <p class="empty">
          {name === undefined ? "Choose a model to see what it is made of." : "Counting parameters…"}
        </p>
      ) : (
        <div class="figures">
          {figures.map((structure) => (
            <Figure
              key={structure.name}
              structure={structure}
              title={modelOf(structure.name)?.title ?? structure.name}
              most={most}
              times={times.value[structure.name] ?? null}
            />
          ))}
        </div>
      )}
    </section>
  );
}

interface FigureProps {
  readonly structure: Structure;
  readonly title: string;
  /** Parameters of the longest bar, of all figures: they are drawn to one scale. */
  readonly most: number;
  readonly times: Times | null;
}

function Figure({ structure: { census, flops, cells }, title, most, times }: FigureProps) {
  const work = Object.values(flops).reduce((a, b) => a + b, 0);
  const all = times === null ? 0 : Object.values(times).reduce((a, b) => a + b, 0);
  const order = Object.keys(census.stages).filter((stage) => stage !== "stem");
  return (
    <table class="bars">
      <caption>
        {title}: {millions(census.parameters)} parameters, {operations(work)} operations a step at {cells} ×{" "}
        {cells} latent cells{times !== null && `, ${milliseconds(all)}`}
      </caption>
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">Parameters</th>
          <td />
          <th scope="col">Work</th>
          {times !== null && <th scope="col">Time</th>}
        </tr>
      </thead>
      <tbody>
        {[...order, ...("stem" in census.stages ? ["stem"] : [])].map((stage) => {
          const n = census.stages[stage] ?? 0;
          const kind = stage.slice(0, 2).toLowerCase();
          return (
            <tr key={stage}>
              <th scope="row">{stage}</th>
              <td class="bar">
                <span class={kind} style={{ width: `${(100 * n) / most}%` }} />
              </td>
              <td>{millions(n)}</td>
              <td>{((100 * (flops[stage] ?? 0)) / work).toFixed(0)} %</td>
              {times !== null && <td>{milliseconds(times[stage] ?? 0)}</td>}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
