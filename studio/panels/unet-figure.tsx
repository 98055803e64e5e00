/** The U-Net drawn by stage: parameters as bars, arithmetic beside them, and another model's beside it. */

import { useSignal } from "@preact/signals";
import type { Structure } from "koala-diffusion/web";
import { useEffect } from "preact/hooks";
import { problemOf, type Studio } from "../state.ts";

const millions = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toFixed(2)} B` : `${(n / 1e6).toFixed(1)} M`;
const operations = (n: number): string =>
  n >= 1e12 ? `${(n / 1e12).toFixed(2)} T` : `${(n / 1e9).toFixed(1)} G`;

export function UNetFigure({ studio }: { readonly studio: Studio }) {
  const own = useSignal<Structure | null>(null);
  const beside = useSignal<Structure | null>(null);
  const name = studio.model.value?.name;
  const load = async (of: { model: string } | { preset: string }, into: typeof own): Promise<void> => {
    try {
      into.value = await studio.engine.structure(of);
    } catch (error) {
      studio.problem.value = problemOf(error);
    }
  };
  const isBusy = studio.isBusy.value;
  useEffect(() => {
    if (name !== undefined && !isBusy && own.value?.name !== name) void load({ model: name }, own);
  }, [name, isBusy]);
  const presets = own.value?.presets ?? [];
  const others = studio.models.value.filter((model) => model.name !== name);
  return (
    <section class="card unet" aria-label="U-Net">
      <div class="row">
        <h2>The U-Net by stage</h2>
        <label>
          Beside it{" "}
          <select
            disabled={isBusy}
            onChange={(event) => {
              const [kind, what = ""] = event.currentTarget.value.split(/:(.*)/s);
              if (kind === "") beside.value = null;
              else void load(kind === "preset" ? { preset: what } : { model: what }, beside);
            }}
          >
            <option value="">nothing</option>
            {others.map((model) => (
              <option key={model.name} value={`model:${model.name}`}>
                {model.title}
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
      {own.value === null ? (
        <p class="empty">
          {name === undefined ? "Choose a model to see what it is made of." : "Counting parameters…"}
        </p>
      ) : (
        <div class="figures">
          <Figure structure={own.value} title={studio.model.value?.title ?? own.value.name} />
          {beside.value !== null && <Figure structure={beside.value} title={beside.value.name} />}
        </div>
      )}
    </section>
  );
}

function Figure({
  structure: { census, flops, cells },
  title,
}: {
  readonly structure: Structure;
  readonly title: string;
}) {
  const most = Math.max(...Object.values(census.stages));
  const work = Object.values(flops).reduce((a, b) => a + b, 0);
  const order = Object.keys(census.stages).filter((stage) => stage !== "stem");
  return (
    <table class="bars">
      <caption>
        {title}: {millions(census.parameters)} parameters
        {work > 0 && `, ${operations(work)} operations a step at ${cells} × ${cells} latent cells`}
      </caption>
      <thead class="sr">
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">Share</th>
          <th scope="col">Parameters</th>
          <th scope="col">Operations</th>
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
              <td>{work > 0 ? `${((100 * (flops[stage] ?? 0)) / work).toFixed(0)} % of work` : ""}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
