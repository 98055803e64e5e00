/** Runs: training runs that the server shows, with their curves and sheets of samples, read again while they go on. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Run, RunDetails } from "../engines.ts";
import { problemOf, type Studio } from "../state.ts";

const refreshMs = 5_000;

export function Runs({ studio }: { readonly studio: Studio }) {
  const runs = useSignal<readonly Run[] | null>(null);
  const chosen = useSignal<string | null>(null);
  const details = useSignal<RunDetails | null>(null);
  useEffect(() => {
    const read = async (): Promise<void> => {
      if (studio.engine.runs === null) return;
      try {
        runs.value = await studio.engine.runs.list();
        const name = chosen.value ?? runs.value[0]?.name;
        details.value = name === undefined ? null : await studio.engine.runs.read(name);
      } catch (error) {
        runs.value ??= [];
        studio.problem.value = problemOf(error);
      }
    };
    void read();
    const timer = setInterval(() => {
      if (!document.hidden) void read();
    }, refreshMs);
    return () => clearInterval(timer);
  }, [chosen.value]);

  if (runs.value === null) return <p class="card empty">Reading the runs…</p>;
  if (runs.value.length === 0)
    return (
      <p class="card empty">
        No training run is shown. Start the server with koala serve --runs DIR, and train with koala train
        --out DIR/run.
      </p>
    );
  return (
    <div class="runs">
      <nav class="card" aria-label="Runs">
        <ul>
          {runs.value.map(({ name, kind, step, steps, loss }) => (
            <li key={name}>
              <button
                type="button"
                aria-pressed={details.value?.name === name}
                onClick={() => {
                  chosen.value = name;
                }}
              >
                <strong>{name.replaceAll("~", "/")}</strong>
                <span>
                  {kind} · step {step} of {steps}
                  {loss !== null && ` · loss ${loss.toPrecision(3)}`}
                </span>
                <progress aria-label={`Progress of ${name}`} value={step} max={steps} />
              </button>
            </li>
          ))}
        </ul>
      </nav>
      {details.value !== null && <Details run={details.value} />}
    </div>
  );
}

function Details({ run }: { readonly run: RunDetails }) {
  const last = run.samples.at(-1);
  const shown = useSignal<number | null>(null);
  const sample = run.samples.find(({ step }) => step === shown.value) ?? last;
  return (
    <section class="card" aria-label={run.name}>
      <Curve label="Loss" points={run.records.map(({ step, loss }) => [step, loss])} />
      {sample !== undefined && (
        <figure>
          <img src={`.${sample.url}`} alt={`Samples at step ${sample.step}`} />
          <figcaption>
            <label class="slider">
              Samples at step {sample.step}
              <input
                type="range"
                min={0}
                max={run.samples.length - 1}
                value={run.samples.indexOf(sample)}
                onInput={(event) => {
                  shown.value = run.samples[Number(event.currentTarget.value)]?.step ?? null;
                }}
              />
            </label>
          </figcaption>
        </figure>
      )}
    </section>
  );
}

function Curve({
  label,
  points,
}: {
  readonly label: string;
  readonly points: readonly (readonly [number, number])[];
}) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const { current } = box;
    if (current === null || points.length === 0) return;
    const style = getComputedStyle(current);
    const axis = { stroke: style.color, grid: { stroke: style.borderColor, width: 1 } };
    const plot = new uPlot(
      {
        ...{ width: current.clientWidth, height: 260 },
        scales: { x: { time: false }, y: { distr: points.every(([, v]) => v > 0) ? 3 : 1 } },
        axes: [axis, axis],
        series: [{ label: "Step" }, { label, stroke: style.outlineColor, width: 1.5 }],
      },
      [points.map(([x]) => x), points.map(([, y]) => y)],
      current,
    );
    return () => plot.destroy();
  }, [points.length]);
  const [from, to] = [points[0]?.[1], points.at(-1)?.[1]];
  return (
    <div
      ref={box}
      class="curve"
      role="img"
      aria-label={`${label} by step, from ${from?.toPrecision(3) ?? "nothing"} to ${to?.toPrecision(3) ?? "nothing"}`}
    />
  );
}
