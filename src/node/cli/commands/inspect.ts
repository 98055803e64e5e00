/** `koala inspect`: what is in a model (a folder, file, hub id or preset) or what a picture remembers of its making. */

import { existsSync, statSync } from "node:fs";
import { extname } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { nearest } from "../../../core/nearest.ts";
import type { ModelDefaults } from "../../../models/detect.ts";
import { type AnyPreset, anyPreset, anyPresetNames } from "../../../models/pixart-presets.ts";
import { parseRequest, type Size } from "../../../pipeline/request.ts";
import { readPictureText } from "../../../pipeline/request-text.ts";
import { readPicture, readPictureBytes } from "../../image-file.ts";
import { readText } from "../../png-text.ts";
import { shellWord } from "../../shell.ts";
import { type Anatomy, modelAnatomy, presetAnatomy } from "../anatomy.ts";
import { flagOf, requestFromFlags } from "../flags.ts";
import { factsOf } from "../model-facts.ts";
import { progressFor } from "../progress.ts";
import { paperModels, printable, table } from "../tables.ts";
import { bytes, flops, grouped } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly width?: string;
  readonly height?: string;
  readonly json?: true;
  readonly offline?: true;
  readonly quiet?: true;
}

export function define(command: Command, world: World): void {
  command
    .argument(
      "[WHAT]",
      "model folder, checkpoint file, hub id, preset or picture; none: the presets beside the paper's table",
    )
    .option("--width <PX>", "width at which operations are counted (default: the model's)")
    .option("--height <PX>", "height at which operations are counted (default: the model's)")
    .option("--json", "print one JSON object")
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "do not show downloads")
    .option("--verbose", "say where an error comes from")
    .addHelpText("after", `\nPresets: ${anyPresetNames.join(", ")}`)
    .action((what: string | undefined, o: Options) => inspect(what, o, world));
}

const isPreset = (what: string): boolean => anyPresetNames.includes(what);

async function inspect(what: string | undefined, o: Options, world: World): Promise<void> {
  if (what === undefined) return printPaperTable(o, world);
  if (existsSync(what) && statSync(what).isFile() && extname(what) !== ".safetensors")
    return printPicture(what, o, world);
  if (isPreset(what) && !existsSync(what))
    return printModel(what, presetAnatomy(anyPreset(what)), anyPreset(what), o, world);
  const [near] = nearest(what, anyPresetNames);
  check(existsSync(what) || what.includes("/"), "E_MODEL", () => ({
    where: what,
    expected: "a model folder, a checkpoint file, a hub id (owner/name), a preset or a picture",
    got: "nothing of that name",
    hint:
      near === undefined
        ? `The presets are ${anyPresetNames.join(", ")}.`
        : `Did you mean the preset ${near}?`,
  }));
  const progress = progressFor(world.stderr, o.quiet === true);
  try {
    const files = await world.openModel(what, {
      isOffline: o.offline === true,
      onProgress: (file, done, total) => progress.transfer("download", file, done, total),
    });
    const anatomy = await modelAnatomy(files);
    progress.end();
    printModel(what, anatomy, null, o, world);
  } finally {
    progress.end();
  }
}

async function printPicture(path: string, o: Options, world: World): Promise<void> {
  const { width, height } = await readPicture(path);
  const texts = readText(await readPictureBytes(path), path);
  const recorded = readPictureText(texts, path);
  if (o.json) {
    world.stdout.write(
      `${JSON.stringify({ file: path, width, height, ...recorded, parameters: texts.parameters ?? null })}\n`,
    );
    return;
  }
  const fields = Object.entries(recorded.request).map(([key, value]) => [
    key,
    typeof value === "object" ? JSON.stringify(value) : String(value),
  ]);
  const parameters = texts.parameters === undefined ? "" : `${texts.parameters}\n\n`;
  const rows = table([["model", recorded.model ?? "not recorded"], ...fields]);
  const missing = recorded.missing === undefined ? "" : `\nNot done here: ${recorded.missing.join(", ")}\n`;
  world.stdout.write(
    printable(
      `${path}  ${width} x ${height} px\n\n${parameters}${rows}${missing}\nTo draw it again: koala generate --from ${shellWord(path)}\n`,
    ),
  );
}

/** The size that the flags ask for, else the model's. @throws KoalaError E_REQUEST */
function sizeFrom(o: Options, defaults: ModelDefaults | null): Size {
  const asked = requestFromFlags({ width: o.width, height: o.height });
  const { width = 512, height = 512 } = parseRequest({ prompt: "", ...asked }, flagOf);
  return {
    width: o.width === undefined ? (defaults?.width ?? width) : width,
    height: o.height === undefined ? (defaults?.height ?? height) : height,
  };
}

const millions = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${(n / 1e6).toFixed(1)}`)
    .join("   ");

function printModel(what: string, anatomy: Anatomy, from: AnyPreset | null, o: Options, world: World): void {
  const facts = factsOf(what, anatomy, (defaults) => sizeFrom(o, defaults));
  if (o.json) {
    world.stdout.write(`${JSON.stringify(facts)}\n`);
    return;
  }
  const { networks, size, unet, defaults, memory } = facts;
  const rows = networks.map(({ name, className, parameters, bytes: stored, dtypes, flops: work }) => [
    ...[name, className, grouped(parameters), bytes(stored), dtypes.join(", "), flops(work)],
  ]);
  const lines = [
    `${what}${defaults === null ? "" : `  (${defaults.family})`}${anatomy.pipeline === null ? "" : `  ${anatomy.pipeline}`}`,
    ...(from === null ? [] : [from.source, `licence of its weights: ${from.licence ?? "none stated"}`]),
    "",
    table(
      [
        ["network", "class", "parameters", "weights", "stored as", `work at ${size.width} x ${size.height}`],
        ...rows,
      ],
      [2, 3, 5],
    ),
  ];
  if (unet !== null) {
    lines.push(
      `U-Net in millions of parameters`,
      `  by stage   ${millions(unet.stages)}`,
      `  by kind    ${millions(unet.kinds)}`,
      `  transformer blocks [${unet.transformerBlocks.join(", ")}], ${unet.hasMid ? "with" : "no"} mid block`,
    );
    const published = paperModels.find(({ preset: name }) => name === what);
    if (published !== undefined) {
      lines.push(
        `  published  ${published.parameters}, ${published.bytes}, transformer blocks ${published.blocks}`,
      );
    }
    lines.push("");
  }
  lines.push(
    `memory     weights in float32: ${bytes(memory.largestNetworkInFloat32)} for the largest network, ${bytes(memory.weightsInFloat32)} for all`,
  );
  if (defaults !== null) {
    const { steps, scheduler, spacing, guidance, width, height, negativePrompt } = defaults;
    lines.push(
      `defaults   ${steps} steps, ${scheduler} ${spacing}, guidance ${guidance}, ${width} x ${height}` +
        (negativePrompt === undefined ? "" : `, negative prompt ${JSON.stringify(negativePrompt)}`),
    );
  }
  world.stdout.write(`${lines.join("\n")}\n`);
}

/** The KOALA paper's Table 1 as we count it, beside what was published. */
function printPaperTable(o: Options, world: World): void {
  const rows = paperModels.map((published) => {
    const { preset: name } = published;
    const { unet, networks } = factsOf(name, presetAnatomy(anyPreset(name)), () => ({
      width: 64,
      height: 64,
    }));
    const stored = networks.find((network) => network.name === "unet")?.bytes ?? 0;
    return { ...published, published, counted: { ...unet, bytes: stored } };
  });
  if (o.json) {
    world.stdout.write(
      `${JSON.stringify(rows.map(({ preset: name, published, counted }) => ({ preset: name, published, counted })))}\n`,
    );
    return;
  }
  const head = [
    "U-Net",
    "preset",
    "parameters",
    "(published)",
    "float32",
    "(published)",
    "transformer blocks",
    "(published)",
    "mid block",
  ];
  const cells = rows.map(({ name, preset: own, published, counted }) => [
    ...[
      name,
      own,
      grouped(counted.parameters ?? 0),
      published.parameters,
      bytes(counted.bytes),
      published.bytes,
    ],
    ...[`[${(counted.transformerBlocks ?? []).join(", ")}]`, published.blocks, counted.hasMid ? "yes" : "no"],
  ]);
  world.stdout.write(
    `${table([head, ...cells], [2, 3, 4, 5])}\nkoala inspect PRESET shows more; the presets are ${anyPresetNames.join(", ")}.\n`,
  );
}
