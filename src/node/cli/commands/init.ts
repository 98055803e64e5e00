/** `koala init`: a whole diffusers folder of a preset, with seeded random weights: something to train, or to try sizes on. */

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { anyPreset, anyPresetFiles, anyPresetNames } from "../../../models/pixart-presets.ts";
import { drawn, type Parameter } from "../../../nn/index.ts";
import { parseRequest } from "../../../pipeline/request.ts";
import { castFloat, type Tensor } from "../../../tensor/tensor.ts";
import {
  planSafetensors,
  type SafetensorsPlan,
  streamSafetensors,
} from "../../../weights/safetensors-writer.ts";
import { writeAtomically } from "../../files.ts";
import { type Measured, measure, presetAnatomy, workloadOf } from "../anatomy.ts";
import { byteVocabulary, letterTokenizer } from "../byte-vocabulary.ts";
import { flagOf, requestFromFlags } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { checkFree, makeNewFolder } from "../new-folder.ts";
import { type Progress, progressFor } from "../progress.ts";
import { bytes, grouped } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly seed?: string;
  readonly dtype: string;
  readonly quiet?: true;
}

const weightTypes = ["float32", "float16"] as const;
type WeightType = (typeof weightTypes)[number];

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<PRESET>", `one of ${anyPresetNames.join(", ")}`)
    .argument("<DIR>", "the folder to make; it must not be there yet")
    .option("--seed <N>", "where the random weights start; the same seed writes the same folder (default 0)")
    .option("--dtype <NAME>", `how weights are stored: ${weightTypes.join(" or ")}`, "float32")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (name: string, folder: string, o: Options) => finish(await init(name, folder, o, world)));
}

/** One network's weights as they will lie on disk. */
interface WeightFile {
  readonly path: string;
  readonly plan: SafetensorsPlan;
  readonly parameters: ReadonlyMap<string, Parameter>;
}

function weightFile({ name, className, graphParameters }: Measured, dtype: WeightType): WeightFile {
  const specs = [...graphParameters.values()].map(({ name: tensor, value }) => ({
    name: tensor,
    dtype,
    shape: value.shape,
  }));
  const file = /^(CLIP|T5)/.test(className) ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
  const plan = planSafetensors(specs, { format: "pt" }); // without it transformers refuses the file
  return { path: join(name, file), plan, parameters: graphParameters };
}

interface Writing {
  readonly progress: Progress;
  readonly signal: AbortSignal;
  done: number;
  readonly total: number;
}

async function writeWeights(
  folder: string,
  file: WeightFile,
  seed: number,
  dtype: WeightType,
  w: Writing,
): Promise<void> {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    const tensorOf = ({ name }: { name: string }): Tensor =>
      castFloat(drawn(file.parameters.get(name) as Parameter, seed, `${file.path}/${name}`), dtype);
    for await (const piece of streamSafetensors(file.plan, tensorOf)) {
      w.signal.throwIfAborted();
      yield piece;
      w.done += piece.length;
      w.progress.transfer("write", file.path, w.done, w.total);
    }
  }
  await mkdir(join(folder, dirname(file.path)), { recursive: true });
  await writeAtomically(join(folder, file.path), pieces());
}

/** Fields that transformers refuses as whole numbers, which is how JavaScript writes 1.0. */
const decimals = /"(initializer_factor|initializer_range|dropout|attention_dropout)": (\d+)(?=[,\n])/g;

const configText = (json: unknown): string =>
  `${JSON.stringify(json, null, 2).replace(decimals, '"$1": $2.0')}\n`;

/** The folder's small files: configs, and vocabularies that know bytes only. */
async function writeTexts(folder: string, name: string): Promise<void> {
  const { vocab, merges } = byteVocabulary();
  for (const [path, json] of Object.entries(anyPresetFiles(anyPreset(name)))) {
    await mkdir(join(folder, dirname(path)), { recursive: true });
    await writeFile(join(folder, path), configText(json));
    if (!path.endsWith("/tokenizer_config.json")) continue;
    if (json.tokenizer_class === "T5Tokenizer") {
      await writeFile(join(folder, dirname(path), "tokenizer.json"), JSON.stringify(letterTokenizer()));
      continue;
    }
    await writeFile(join(folder, dirname(path), "vocab.json"), JSON.stringify(vocab));
    await writeFile(join(folder, dirname(path), "merges.txt"), merges);
  }
}

async function init(name: string, target: string, o: Options, world: World): Promise<number> {
  const dtype = weightTypes.find((known) => known === o.dtype);
  check(dtype !== undefined, "E_FLAG", () => ({
    where: "--dtype",
    expected: weightTypes.join(" or "),
    got: JSON.stringify(o.dtype),
  }));
  const { seed = 0 } = parseRequest({ prompt: "", ...requestFromFlags({ seed: o.seed }) }, flagOf);
  const { organs } = presetAnatomy(anyPreset(name));
  checkFree(target);
  const measured = organs.map((organ) => measure(organ, workloadOf(organs, 64, 64)));
  const files = measured.map((network) => weightFile(network, dtype));
  const total = files.reduce((sum, { plan }) => sum + plan.byteLength, 0);

  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(world, progress, "Stopped; nothing half-made is left.", async (signal) => {
    await makeNewFolder(target, total, async (folder) => {
      await writeTexts(folder, name);
      const writing: Writing = { progress, signal, done: 0, total };
      for (const file of files) await writeWeights(folder, file, seed, dtype, writing);
    });
    progress.end();
    const parameters = measured.reduce((sum, network) => sum + network.parameters, 0);
    world.stdout.write(
      `${target}: ${name}, ${grouped(parameters)} random parameters from seed ${seed}, ${bytes(total)} in ${dtype}\n`,
    );
  });
}
