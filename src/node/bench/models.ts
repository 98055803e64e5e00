/**
 * `koala bench models`: KOALA's figure of latency and memory, for every preset at its own size, steps and guidance. Weights
 * are random. A few steps of each picture are drawn; where a model takes more, the rest is computed from them.
 */

import { existsSync } from "node:fs";
import { mkdir, readFile, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { anyPreset, anyPresetFiles, anyPresetNames } from "../../models/pixart-presets.ts";
import { presetAnatomy } from "../cli/anatomy.ts";
import { factsOf } from "../cli/model-facts.ts";
import { bytes as bytesText } from "../cli/units.ts";
import { contentHash } from "../data/hash.ts";
import { writeAtomically } from "../files.ts";
import { svgOf } from "../page/vega.ts";
import { type Bench, ownProgram } from "./bench.ts";
import type { Outcome } from "./child.ts";
import type { Missing } from "./contest.ts";
import { cards, published } from "./published.ts";
import type { Table } from "./report.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import { makePreset } from "./subject.ts";

/** What networks of one kind take on this machine; models that differ in steps or guidance alone share it. */
export interface Measured {
  /** Prompt through the encoders, and pixels out of the VAE; both with the loading of their networks, in seconds. */
  readonly text: number;
  readonly decode: number;
  /** Loading and compiling the denoiser, in seconds. */
  readonly load: number;
  readonly step: Spread;
  readonly peakBytes: number | null;
  readonly engine: string;
  /** Steps that were drawn, the first of them included. */
  readonly drawn: number;
  /** Network calls that the sampler made besides one a step. */
  readonly extraCalls: number;
  /** The preset that was measured. */
  readonly from: string;
  /** What all this rests on. */
  readonly key: string;
}

/** A preset's own size in pixels, steps and guidance. */
interface Use {
  readonly size: number;
  readonly steps: number;
  readonly guidance: number;
}

export interface Figure extends Use {
  readonly preset: string;
  readonly measured: Measured;
}

/** Prompt, steps and decoder; without the denoiser's loading, as the published figures are. */
export const pictureSeconds = ({ steps, measured }: Figure): number =>
  measured.text + (steps + measured.extraCalls) * measured.step.median + measured.decode;

/** Presets whose weights somebody published; the others are for tests. */
export const zoo = (): string[] => anyPresetNames.filter((name) => anyPreset(name).hub !== null);

/** Steps that are drawn where nobody says otherwise: a first one, which warms up, and two that count. */
const usualSteps = 3;

export interface Figures {
  readonly figures: readonly Figure[];
  readonly missing: readonly Missing[];
}

/** Each in a fresh process; what `out` holds from before is not measured again. */
export async function measureModels(names: readonly string[], b: Bench): Promise<Figures> {
  const figures: Figure[] = [];
  const missing: Missing[] = [];
  const folder = join(b.out, "models");
  await mkdir(folder, { recursive: true });
  for (const [i, name] of names.entries()) {
    b.signal.throwIfAborted();
    const plan = planOf(name, b);
    const file = join(folder, `${name}.json`);
    const before = [...figures.map(({ measured }) => measured), await readMeasured(file)];
    try {
      b.stage(`${name}, ${i + 1} of ${names.length}`);
      const measured = before.find((one) => one?.key === plan.key) ?? (await measureOne(name, plan, b));
      figures.push({ preset: name, ...plan.use, measured });
      await writeAtomically(file, `${JSON.stringify(measured, null, 1)}\n`);
    } catch (error) {
      if (!(error instanceof KoalaError)) throw error;
      missing.push({ name, why: error.got });
    }
  }
  return { figures, missing };
}

async function readMeasured(file: string): Promise<Measured | undefined> {
  const text = await readFile(file, "utf8").catch(() => null);
  return text === null ? undefined : (JSON.parse(text) as Measured);
}

interface Plan {
  readonly use: Use;
  readonly drawn: number;
  readonly engine: string;
  readonly precision: string;
  readonly key: string;
  /** Of a folder in float16. */
  readonly bytes: number;
}

function planOf(name: string, b: Bench): Plan {
  const preset = anyPreset(name);
  const anatomy = presetAnatomy(preset);
  const { defaults, bytes } = factsOf(preset.hub ?? name, anatomy, () => ({ width: 64, height: 64 }));
  const { width = 512, steps = 1, guidance = 1 } = defaults ?? {};
  const size = b.o.sizes?.[0] ?? width;
  const drawn = Math.min(steps, b.o.steps ?? usualSteps);
  const [engine = "auto"] = b.o.engines ?? [];
  const [precision = "f32"] = b.o.precisions ?? [];
  const networks = Object.entries(anyPresetFiles(preset)).filter(([path]) => path.endsWith("/config.json"));
  const rest = [size, guidance > 1, drawn, engine, precision, b.o.threads, b.version];
  const key = contentHash(JSON.stringify([networks, preset.scheduler._class_name, ...rest]));
  return { use: { size, steps, guidance }, drawn, engine, precision, key, bytes: bytes / 2 };
}

/** What a folder of that size leaves free at least: a full disk is nobody's wish. */
const spareBytes = 1e9;

/** @throws KoalaError E_DISK, E_ENGINE with the reason of the process */
async function measureOne(name: string, plan: Plan, b: Bench): Promise<Measured> {
  const folder = join(b.cache, "models", name);
  const isKept = existsSync(folder);
  if (!isKept) {
    await mkdir(join(b.cache, "models"), { recursive: true });
    const { bavail, bsize } = await statfs(b.cache);
    check(bavail * bsize > plan.bytes + spareBytes, "E_DISK", () => ({
      where: b.cache,
      expected: `${bytesText(plan.bytes + spareBytes)} of free space`,
      got: `its weights take ${bytesText(plan.bytes)} of disk, and ${bytesText(bavail * bsize)} are free in ${b.cache}`,
    }));
    await makePreset(name, folder, b);
  }
  try {
    const { size, guidance } = plan.use;
    const asked = { model: folder, engine: plan.engine, precision: plan.precision, threads: b.o.threads };
    const memory = process.availableMemory(); // what needs more is refused, and said
    const outcome = await b.run(
      ownProgram("picture", { ...asked, size, guidance, steps: plan.drawn, prompt: "a red apple", memory }),
    );
    return { ...measuredFrom(outcome, plan.drawn), from: name, key: plan.key };
  } finally {
    if (!isKept) await rm(folder, { recursive: true, force: true });
  }
}

/** What the program `picture` said. */
export function measuredFrom({ said, peakBytes }: Outcome, drawn: number): Omit<Measured, "from" | "key"> {
  const { text, load, decode, calls, steps, firstStep, engine } = said as unknown as {
    readonly text: number;
    readonly load: number;
    readonly decode: number;
    readonly calls: number;
    readonly steps: readonly number[];
    readonly firstStep: number;
    readonly engine: string;
  };
  const step = spreadOf(steps.length === 0 ? [firstStep] : steps); // of a single step the first is all there is
  return { text, load, decode, step: step as Spread, peakBytes, engine, drawn, extraCalls: calls - drawn };
}

/** Ours beside what was published of graphics cards. */
export function modelsTable(figures: readonly Figure[], machine: string): Table {
  const heads = [
    ...["model", "px", "steps", "guidance", "s a picture", "measured", "s a step", "peak GB", "engine"],
    ...cards.map((card) => `${card}, published: s / GB`),
  ];
  const rows = figures.map((figure) => {
    const { preset, size, steps, guidance, measured } = figure;
    const { step, peakBytes, engine, drawn, from } = measured;
    const labels = published[preset] ?? cards.map(() => undefined);
    return [
      ...[preset, String(size), String(steps), String(guidance), pictureSeconds(figure).toFixed(1)],
      `${drawn === steps ? "whole" : `${drawn} of ${steps} steps`}${from === preset ? "" : ` of ${from}`}`,
      step.median.toFixed(2),
      peakBytes === null ? "-" : (peakBytes / 1e9).toFixed(2),
      engine,
      ...labels.map((label) =>
        label === undefined
          ? ""
          : label === null
            ? "out of memory"
            : `${label[0].toFixed(2)} / ${label[1].toFixed(1)}`,
      ),
    ];
  });
  return {
    title: `A picture by each model, random weights, on ${machine}; the last columns are other machines`,
    rows: [heads, ...rows],
  };
}

/** What the numbers are, for under the table. */
export const modelsRemark: string =
  "A picture: prompt through the encoders, all steps, decoder; loading the denoiser is left out, as it is of the published figures. " +
  "Where not every step was drawn, the others are computed from the middle of those after the first. Published: KOALA's figure of latency and memory, float16 on graphics cards.";

/** Of a point's name, on each side of it. */
const places = [
  { align: "left", dx: 7 },
  { align: "center", dy: -9 },
  { align: "center", dy: 11 },
  { align: "right", dx: -7 },
] as const;

/** Seconds against memory, as KOALA's figure has them: this machine and the published ones. */
export function modelsChart(figures: readonly Figure[], machine: string): Promise<string> {
  const here = figures.flatMap((figure) => {
    const { peakBytes } = figure.measured;
    if (peakBytes === null) return [];
    return [{ model: figure.preset, on: machine, seconds: pictureSeconds(figure), gb: peakBytes / 1e9 }];
  });
  const there = figures.flatMap(({ preset }) =>
    (published[preset] ?? []).flatMap((label, i) =>
      label === null
        ? []
        : [{ model: preset, on: `${cards[i]} (published)`, seconds: label[0], gb: label[1] }],
    ),
  );
  const where = [machine, ...cards.map((card) => `${card} (published)`)];
  const x = {
    field: "seconds",
    type: "quantitative",
    title: "seconds a picture",
    scale: { type: "log" },
  } as const;
  const y = { field: "gb", type: "quantitative", title: "peak memory, GB", scale: { zero: true } } as const;
  return svgOf({
    ...{ width: 680, height: 420, data: { values: [...here, ...there] } },
    layer: [
      {
        mark: { type: "point", filled: true, size: 70 },
        encoding: {
          ...{ x, y },
          color: {
            ...{
              field: "on",
              type: "nominal",
              sort: where,
              legend: { title: null, orient: "top", columns: 2, labelLimit: 400 },
            },
            scale: { domain: where, range: ["#c8702a", "#1f4e79", "#6f94b8", "#b3c6d9"] },
          },
        },
      },
      // names stand where those of the next card, whose points are near, do not
      ...where.map((on, i) => ({
        transform: [{ filter: { field: "on", equal: on } }],
        mark: { type: "text" as const, fontSize: 9, ...places[i % places.length] },
        encoding: { x, y, text: { field: "model", type: "nominal" as const } },
      })),
    ],
  });
}
