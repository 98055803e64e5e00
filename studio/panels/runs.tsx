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
        No training run is shown. Start the server with <code>koala serve --runs DIR</code>, and train with{" "}
        <code>koala train --out DIR/run</code>.
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
                <strong>{titleOf({ name })}</strong>
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
      {details.value !== null && <Details key={details.value.name} run={details.value} />}
    </div>
  );
}

/** The server names a run by its place in its folder, as one segment of a path. */
const titleOf = ({ name }: Pick<Run, "name">): string => name.replaceAll("~", "/");

function standingOf({ kind, step, steps, records }: RunDetails): string {
  const last = records.at(-1);
  return [
    `${kind}, step ${step} of ${steps}`,
    ...(last === undefined ? [] : [`loss ${last.loss.toPrecision(3)}`]),
    ...(last?.picturesPerSecond === undefined
      ? []
      : [`${last.picturesPerSecond.toPrecision(3)} pictures a second`]),
    ...(last?.rate === undefined ? [] : [`learning rate ${Number(last.rate.toPrecision(2))}`]),
  ].join(" · ");
}

function Details({ run }: { readonly run: RunDetails }) {
  const last = run.samples.at(-1);
  const shown = useSignal<number | null>(null);
  const sample = run.samples.find(({ step }) => step === shown.value) ?? last;
  return (
    <section class="card" aria-label={run.name}>
      <h2>{titleOf(run)}</h2>
      <p class="hint">{standingOf(run)}</p>
      <Curve records={run.records} />
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

type Records = RunDetails["records"];

/** The loss and what it is made of, as columns: steps first. */
function columnsOf(records: Records): {
  readonly names: readonly string[];
  readonly data: uPlot.AlignedData;
  /** Whether a logarithm can be drawn. */
  readonly isPositive: boolean;
} {
  const terms = [...new Set(records.flatMap(({ terms: its = {} }) => Object.keys(its)))];
  const values = terms.map((term) => records.map(({ terms: its = {} }) => its[term] ?? null));
  const curves = [records.map(({ loss }) => loss), ...values];
  return {
    names: ["loss", ...terms],
    data: [records.map(({ step }) => step), ...curves],
    isPositive: curves.flat().every((value) => value === null || value > 0),
  };
}

const chartHeight = 260;

function Curve({ records }: { readonly records: Records }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const scheme = useSignal(0);
  useEffect(() => {
    const { current } = box;
    if (current === null) return;
    const watch = new ResizeObserver(() => {
      width.value = current.clientWidth;
    });
    watch.observe(current);
    // a canvas keeps the colours that it was drawn in
    const redraw = (): void => {
      scheme.value++;
    };
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", redraw);
    const theme = new MutationObserver(redraw);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      watch.disconnect();
      media.removeEventListener("change", redraw);
      theme.disconnect();
    };
  }, []);
  useEffect(() => {
    const { current } = box;
    if (current === null || records.length === 0 || width.value === 0) return;
    const style = getComputedStyle(current);
    const axis = { stroke: style.color, grid: { stroke: style.borderTopColor, width: 1 } };
    const { names, data, isPositive } = columnsOf(records);
    const strokes = [style.outlineColor, style.caretColor, style.color];
    /** Where nothing is pointed at, the legend has the newest values. */
    const newest = (its: uPlot): void => {
      if (its.legend.idx == null) its.setLegend({ idx: records.length - 1 });
    };
    const plot = new uPlot(
      {
        hooks: { ready: [newest], setLegend: [newest] },
        ...{ width: width.value, height: chartHeight },
        scales: { x: { time: false }, y: { distr: isPositive ? 3 : 1 } },
        axes: [
          { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] },
          axis,
        ],
        series: [
          { label: "step" },
          ...names.map((label, i) => ({
            ...{ label, width: i === 0 ? 1.5 : 1 },
            stroke: strokes[i % strokes.length] ?? style.color,
            ...(i < strokes.length ? {} : { dash: [4, 2 * i] }),
          })),
        ],
      },
      data,
      current,
    );
    return () => plot.destroy();
  }, [records.length, width.value, scheme.value]);
  const [from, to] = [records[0]?.loss, records.at(-1)?.loss];
  return (
    <div
      ref={box}
      class="curve"
      role="img"
      aria-label={`Loss by step, from ${from?.toPrecision(3) ?? "nothing"} to ${to?.toPrecision(3) ?? "nothing"}`}
    />
  );
}
