/** `koala cut`: a student out of a teacher by a published rule, as a diffusers folder that differs in its denoiser alone. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { countParameters } from "../../../models/census.ts";
import { parseRequest } from "../../../pipeline/request.ts";
import type { TensorStore } from "../../../tensor/stored.ts";
import { castFloat } from "../../../tensor/tensor.ts";
import { type Cut, type CutOptions, cutStore } from "../../../train/distill/cut.ts";
import { cutRows, runs } from "../../../train/distill/cut-table.ts";
import { type Keep, keeps } from "../../../train/distill/layers.ts";
import { CUT_RECORD, cutRecord } from "../../../train/distill/record.ts";
import { checkRule, ruleForms } from "../../../train/distill/rules.ts";
import { buildNetwork, checkNetwork, type Network, smallestSize } from "../../../train/networks/network.ts";
import { denoiserClasses, openNetwork } from "../../../train/networks/open.ts";
import type { ModelFiles } from "../../../weights/files.ts";
import { readModelIndex } from "../../../weights/layout.ts";
import {
  planSafetensors,
  type SafetensorsPlan,
  streamSafetensors,
} from "../../../weights/safetensors-writer.ts";
import { writeAtomically } from "../../files.ts";
import { modelAnatomy } from "../anatomy.ts";
import { componentCopies, placeCopy } from "../component-files.ts";
import { flagOf, requestFromFlags } from "../flags.ts";
import { interruptible } from "../interruptible.ts";
import { checkFree, makeNewFolder } from "../new-folder.ts";
import { type Progress, progressFor } from "../progress.ts";
import { table } from "../tables.ts";
import { bytes, grouped } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly teacher?: string;
  readonly student?: string;
  readonly keep?: string;
  readonly seed?: string;
  readonly depth?: string;
  readonly mid?: boolean;
  readonly dtype?: string;
  readonly json?: true;
  readonly offline?: true;
  readonly quiet?: true;
}

const weightTypes = ["float32", "float16", "bfloat16"] as const;
type WeightType = (typeof weightTypes)[number];

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<DIR>", "the folder to make; it must not be there yet")
    .option("--teacher <MODEL>", "model folder, checkpoint file or hub id to cut from")
    .option("--student <NAME>", `the rule to cut by: ${ruleForms.join(", ")} (N blocks of a transformer)`)
    .option(
      "--keep <WHICH>",
      `which transformer blocks of a layer stay, or of a transformer: ${keeps.join(", ")} (default first)`,
    )
    .option("--seed <N>", "where a random choice starts (default 0)")
    .option("--depth <K>", "most transformer blocks of a layer of a U-Net (default: the rule's)")
    .option("--mid", "keep the middle block")
    .option("--no-mid", "leave the middle block out")
    .option("--dtype <NAME>", `how weights are stored: ${weightTypes.join(", ")} (default: as the teacher's)`)
    .option("--json", "print one JSON object, with the teacher's tensor of each of the student's")
    .option("--offline", "use only what is on this machine")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (folder: string, o: Options) => finish(await cut(folder, o, world)));
}

function required(value: string | undefined, flag: string, what: string): string {
  check(value !== undefined, "E_FLAG", () => ({
    where: flag,
    expected: what,
    got: "nothing",
    hint: "koala cut --help lists what it takes.",
  }));
  return value;
}

function oneOf<T extends string>(
  value: string | undefined,
  flag: string,
  known: readonly T[],
): T | undefined {
  if (value === undefined) return undefined;
  const found = known.find((name) => name === value);
  check(found !== undefined, "E_FLAG", () => ({
    where: flag,
    expected: `one of ${known.join(", ")}`,
    got: JSON.stringify(value),
  }));
  return found;
}

function cutOptions(o: Options): CutOptions {
  const keep: Keep = oneOf(o.keep, "--keep", keeps) ?? "first";
  check(o.seed === undefined || keep === "random", "E_FLAG", () => ({
    where: "--seed",
    expected: "--keep random, the one choice that a seed changes",
    got: `--keep ${keep}`,
  }));
  const { seed = 0 } = parseRequest({ prompt: "", ...requestFromFlags({ seed: o.seed }) }, flagOf);
  const depth = o.depth === undefined ? undefined : Number(o.depth);
  check(depth === undefined || (Number.isInteger(depth) && depth >= 1), "E_FLAG", () => ({
    where: "--depth",
    expected: "a whole number of at least 1",
    got: JSON.stringify(o.depth),
  }));
  return {
    keep,
    seed,
    ...(depth === undefined ? {} : { depth }),
    ...(o.mid === undefined ? {} : { hasMid: o.mid }),
  };
}

interface Teacher {
  readonly location: string;
  readonly files: ModelFiles;
  readonly network: Network;
  readonly parameters: number;
}

/** The denoiser of a folder, of its own folder or of a checkpoint file, its weights checked. */
async function openTeacher(location: string, files: ModelFiles): Promise<Teacher> {
  const { organs } = await modelAnatomy(files);
  const organ = organs.find(({ className }) => className in denoiserClasses);
  const name = denoiserClasses[organ?.className ?? ""];
  check(organ !== undefined && organ.store !== null && name !== undefined, "E_MODEL", () => ({
    where: location,
    expected: "a model with a U-Net or a transformer",
    got: organs.length === 0 ? "nothing" : organs.map(({ className }) => className).join(", "),
  }));
  const network = openNetwork(name, organ.config, organ.store, `${name}/config.json`);
  checkNetwork(network, location);
  const { parameters } = buildNetwork(network, smallestSize(network));
  return { location, files, network, parameters: countParameters(parameters) };
}

/** Everything that is known before a byte is written. */
interface Job {
  readonly teacher: Teacher;
  readonly rule: string;
  readonly made: Cut;
  readonly store: TensorStore;
  readonly plan: SafetensorsPlan;
}

function planJob(teacher: Teacher, rule: string, options: CutOptions, dtype: WeightType | undefined): Job {
  const made = teacher.network.cut(rule, options);
  const store = cutStore(made, teacher.network.store, teacher.location);
  const specs = [...store.tensors].map(([name, stored]) => ({
    name,
    dtype: dtype ?? stored.dtype,
    shape: stored.shape,
  }));
  return { teacher, rule, made, store, plan: planSafetensors(specs, { format: "pt" }) };
}

async function cut(target: string, o: Options, world: World): Promise<number> {
  const location = required(o.teacher, "--teacher", "the model to cut from");
  const rule = required(o.student, "--student", `one of ${ruleForms.join(", ")}`);
  checkRule(rule);
  const options = cutOptions(o);
  const dtype = oneOf(o.dtype, "--dtype", weightTypes);
  checkFree(target);
  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(world, progress, "Stopped; nothing half-made is left.", async (signal) => {
    const files = await world.openModel(location, {
      isOffline: o.offline === true,
      signal,
      onProgress: (file, done, total) => progress.transfer("download", file, done, total),
    });
    const job = planJob(await openTeacher(location, files), rule, options, dtype);
    const fill = (folder: string) => writeStudent(folder, job, signal, progress);
    await makeNewFolder(target, job.plan.byteLength, fill);
    progress.end();
    world.stdout.write(o.json === true ? `${jsonOf(target, job)}\n` : textOf(target, job));
  });
}

async function writeStudent(
  folder: string,
  job: Job,
  signal: AbortSignal,
  progress: Progress,
): Promise<void> {
  const { files, location, network } = job.teacher;
  const index = await readModelIndex(files);
  const own = index === null ? folder : join(folder, network.name);
  for (const copy of index === null ? [] : await componentCopies(files, index, network.name)) {
    signal.throwIfAborted();
    await placeCopy(files, copy, folder);
  }
  await mkdir(own, { recursive: true });
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  await writeFile(join(own, "config.json"), json({ ...job.made.config, _name_or_path: location }));
  await writeFile(join(own, CUT_RECORD), json(cutRecord(job.made, location)));

  const file = "diffusion_pytorch_model.safetensors";
  async function* pieces(): AsyncGenerator<Uint8Array> {
    let done = 0;
    const load = async (spec: { name: string; dtype: string }) => {
      const tensor = await job.store.read(spec.name);
      return tensor.dtype === spec.dtype ? tensor : castFloat(tensor, spec.dtype as WeightType);
    };
    for await (const piece of streamSafetensors(job.plan, load)) {
      signal.throwIfAborted();
      yield piece;
      done += piece.length;
      progress.transfer("write", file, done, job.plan.byteLength);
    }
  }
  await writeAtomically(join(own, file), pieces());
  signal.throwIfAborted();
}

const dtypesOf = ({ specs }: SafetensorsPlan): string[] => [...new Set(specs.map(({ dtype }) => dtype))];

function jsonOf(target: string, { teacher, made, plan }: Job): string {
  const { tensors, ...record } = cutRecord(made, teacher.location);
  return JSON.stringify({
    folder: target,
    ...record,
    parameters: countParameters(made.parameters),
    teacherParameters: teacher.parameters,
    bytes: plan.byteLength,
    dtypes: dtypesOf(plan),
    tensors,
  });
}

/** `down_blocks.0`, `mid_block`, or what lies outside the blocks. */
const blockOf = (part: string): string =>
  /^(?:down_blocks\.\d+|mid_block|up_blocks\.\d+)/.exec(part)?.[0] ?? "";

/** The map as a table with a gap between blocks, and a last line that says what was made. */
function textOf(target: string, { teacher, rule, made, plan }: Job): string {
  const rows: string[][] = [["student", "from the teacher's", "its blocks", "parameters"]];
  let block = "";
  for (const { student, teacher: from, blocks, parameters } of cutRows(made)) {
    if (blockOf(student) !== block) rows.push([]);
    block = blockOf(student);
    rows.push([student, from, runs(blocks), grouped(parameters)]);
  }
  const counts = `${grouped(countParameters(made.parameters))} of ${grouped(teacher.parameters)} parameters`;
  const size = `${bytes(plan.byteLength)} in ${dtypesOf(plan).join(", ")}`;
  return `${table(rows, [3])}\n${target}: ${rule} cut from ${teacher.location}, ${counts}, ${size}\n`;
}
