/** The questions whose answer is a contest: who takes part, and what is read off each run. */

import { join } from "node:path";
import { check } from "../../core/assert.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { usualCells } from "../../pipeline/structure.ts";
import { host } from "../../runtime/host.ts";
import { openComponent } from "../../weights/layout.ts";
import { usualModelName } from "../cli/package.ts";
import { type Bench, koala, ownProgram } from "./bench.ts";
import type { Outcome } from "./child.ts";
import {
  convertedFiles,
  type Field,
  type OwnEntry,
  ownEntries,
  ownName,
  type PeerEntry,
  peerEntries,
  peerField,
  peerFloats,
  peerFolder,
} from "./contenders.ts";
import type { Measure } from "./contest.ts";
import { type PrecisionName, peers, script } from "./peers.ts";
import { type Subject, subjectOf } from "./subject.ts";

/** A contest that is ready to begin. */
export interface Question extends Field {
  /** As the heading of its table. */
  readonly title: string;
  readonly measures: readonly Measure[];
  /** Those of which ratios are told, by key. */
  readonly compared: readonly string[];
  readonly usualWarmUps: number;
}

const numbers = (value: unknown): number[] =>
  (Array.isArray(value) ? value : [value]).filter((one): one is number => typeof one === "number");

const said =
  (key: string) =>
  (run: Outcome): readonly number[] =>
    numbers(run.said[key]);

const stepSeconds: Measure = { key: "step", title: "s a step", digits: 2, of: said("steps") };
/** Of all threads together: what a busy machine does not change much. */
const processorSeconds: Measure = { key: "cpu", title: "CPU s a step", digits: 2, of: said("cpu") };
const readySeconds: Measure = {
  key: "ready",
  title: "start to first step begins, s",
  digits: 2,
  of: said("ready"),
};
const firstSeconds: Measure = {
  key: "first",
  title: "start to first step done, s",
  digits: 2,
  of: said("first"),
};
const wholeSeconds: Measure = {
  key: "whole",
  title: "start to PNG, s",
  digits: 2,
  of: (run) => [run.seconds],
};
const peak: Measure = {
  key: "peak",
  title: "peak GB",
  digits: 2,
  of: ({ peakBytes }) => (peakBytes === null ? [] : [peakBytes / 1e9]),
};

/** What contenders are asked where nobody says otherwise. */
const prompt = "a red apple";
const usualRounds = {
  precise: ["f32", "bf16", "f16", "int8"],
  plain: ["f32", "bf16", "f16"],
} as const satisfies Record<string, readonly PrecisionName[]>;

const subjectsOf = async (usual: string, b: Bench): Promise<Subject> => subjectOf(b.o.models[0] ?? usual, b);

/** Peers whose scripts know U-Nets only are missing for a transformer. */
function unetPeers(
  subject: Subject,
  usual: readonly PrecisionName[],
  b: Bench,
): ReturnType<typeof peerEntries> {
  if (subject.hasUNet) return peerEntries(subject, usual, b);
  const why = `${subject.name} has a transformer, and the peers' scripts measure U-Nets`;
  return { entries: [], missing: b.o.against.map(({ peer }) => ({ name: peers[peer].title, why })) };
}

/** Seconds a forward of the denoiser, alone in its process. */
export async function unet(b: Bench): Promise<readonly Question[]> {
  const subject = await subjectsOf("koala-700m", b);
  const ours = await ownEntries(subject, usualRounds.precise, b);
  const theirs = unetPeers(subject, usualRounds.precise, b);
  const steps = 1 + (b.o.steps ?? 3); // the first of a process warms up
  const questions: Question[] = [];
  for (const size of b.o.sizes ?? [Math.min(512, subject.defaults.width)]) {
    const asked = { size, steps, threads: b.o.threads };
    const field = await peerField(theirs, { subject, parts: ["unet"], command: forward }, b);
    function forward({ peer, precision, python }: PeerEntry) {
      if (peer === "sdcpp") {
        const whole = { ...asked, ...pictureOf(subject, b), guidance: 1, precision, output: "" };
        return script(python, peerFolder(b), "sdcpp_picture", { ...whole, size, steps });
      }
      const it = {
        ...asked,
        precision,
        floats: peerFloats(b),
        files: convertedFiles(subject),
        model: subject.folder,
      };
      return script(python, peerFolder(b), `${peer}_unet`, it);
    }
    questions.push({
      title: `${subject.name}, one forward of the ${subject.hasUNet ? "U-Net" : "transformer"}, ${size} px, ${b.o.threads} threads`,
      contenders: [
        ...ours.entries.map((entry) => ({
          ...{ name: ownName(entry), isOurs: true },
          command: ownProgram("step", { ...asked, ...own(entry) }),
        })),
        ...field.contenders,
      ],
      missing: [...ours.missing, ...field.missing],
      measures: [stepSeconds, processorSeconds, firstSeconds, peak],
      compared: ["step", "cpu", "peak"],
      usualWarmUps: 0,
    });
  }
  return questions;
}

const own = ({ engine, computes, model }: OwnEntry) => ({ engine, precision: computes, model });

/** What a picture is asked of every contender. */
function pictureOf(subject: Subject, b: Bench) {
  const { defaults } = subject;
  return {
    ...{ model: subject.folder, prompt, negative: defaults.negativePrompt ?? "", seed: 0 },
    ...{
      size: b.o.sizes?.[0] ?? defaults.width,
      steps: b.o.steps ?? defaults.steps,
      guidance: defaults.guidance,
    },
    ...{ threads: b.o.threads, trailing: defaults.spacing === "trailing" },
  };
}

function pictureTitle(subject: Subject, b: Bench): string {
  const { size, steps, guidance } = pictureOf(subject, b);
  return `${subject.name}, ${size} px, ${steps} steps, guidance ${guidance}, ${b.o.threads} threads`;
}

const outputOf = (b: Bench): string => join(b.temporary, "picture.png");
const cacheOf = (b: Bench): string => join(b.temporary, "programs");

/** diffusers knows every model here; OpenVINO's pipeline is ours to write, and written for SDXL's kind. */
function picturePeers(
  subject: Subject,
  usual: readonly PrecisionName[],
  b: Bench,
): ReturnType<typeof peerEntries> {
  const all = peerEntries(subject, usual, b);
  if (subject.hasUNet && subject.hasTwoEncoders) return all;
  const isFit = ({ peer }: PeerEntry): boolean =>
    peer !== "openvino" && (subject.hasUNet || peer !== "sdcpp");
  const lost = new Set(all.entries.filter((entry) => !isFit(entry)).map(({ peer }) => peers[peer].title));
  const why = "scripts/peers draws with it only models of SDXL's kind";
  return {
    entries: all.entries.filter(isFit),
    missing: [...all.missing, ...[...lost].map((name) => ({ name, why }))],
  };
}

/** The peers that draw whole pictures. */
function drawing(
  subject: Subject,
  usual: readonly PrecisionName[],
  b: Bench,
  stops: boolean,
): Promise<Field> {
  const asked = pictureOf(subject, b);
  return peerField(
    picturePeers(subject, usual, b),
    {
      ...{ subject, parts: ["unet", "encoders", "decoder"] },
      command: ({ peer, precision, python }) =>
        script(python, peerFolder(b), `${peer}_picture`, {
          ...{ ...asked, precision, stops, floats: peerFloats(b), files: convertedFiles(subject) },
          ...{ output: outputOf(b), cache: cacheOf(b) },
        }),
    },
    b,
  );
}

/** `koala generate`, as a user types it. */
function generate(entry: OwnEntry, subject: Subject, b: Bench, ...more: readonly string[]) {
  const { size, steps, guidance, threads } = pictureOf(subject, b);
  const flags = { model: entry.model, seed: 0, steps, guidance, width: size, height: size, threads };
  const named = { ...flags, engine: entry.engine, precision: entry.computes, output: outputOf(b) };
  const args = Object.entries(named).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  return koala(b, "generate", prompt, ...args, "--offline", "--cache", "--quiet", "--json", ...more);
}

/** From the start of the process to the picture's file. */
export async function image(b: Bench): Promise<readonly Question[]> {
  const subject = await subjectsOf(usualModelName, b);
  const ours = await ownEntries(subject, usualRounds.plain, b);
  const field = await drawing(subject, usualRounds.plain, b, false);
  return [
    {
      title: `A picture: ${pictureTitle(subject, b)}`,
      contenders: [
        ...ours.entries.map((entry) => ({
          ...{ name: ownName(entry), isOurs: true },
          command: generate(entry, subject, b),
        })),
        ...field.contenders,
      ],
      missing: [...ours.missing, ...field.missing],
      measures: [wholeSeconds, peak],
      compared: ["whole", "peak"],
      usualWarmUps: 1, // a second start: the disk's cache and that of compiled programs are filled
    },
  ];
}

/** Until the first step begins, and until it is over, when it is not the first start. */
export async function load(b: Bench): Promise<readonly Question[]> {
  const subject = await subjectsOf(usualModelName, b);
  const ours = await ownEntries(subject, usualRounds.plain, b);
  const field = await drawing(subject, usualRounds.plain, b, true);
  const { size, steps, guidance, threads } = pictureOf(subject, b);
  const asked = { size, steps, guidance, threads, prompt, stops: true, cache: cacheOf(b) };
  return [
    {
      title: `The second start: ${pictureTitle(subject, b)}`,
      contenders: [
        ...ours.entries.map((entry) => ({
          ...{ name: ownName(entry), isOurs: true },
          command: ownProgram("picture", { ...asked, ...own(entry) }),
        })),
        ...field.contenders,
      ],
      missing: [...ours.missing, ...field.missing],
      measures: [readySeconds, firstSeconds, peak],
      compared: ["ready", "first"],
      usualWarmUps: 1,
    },
  ];
}

/** Whole pictures under budgets: what they take, and what keeping to it costs. */
export async function memory(b: Bench): Promise<readonly Question[]> {
  const subject = await subjectsOf(usualModelName, b);
  const usual: readonly PrecisionName[] = ["f32"];
  const ours = await ownEntries(subject, usual, b);
  const field = await drawing(subject, usual, b, false);
  const variants: readonly (readonly [name: string, flags: readonly string[]])[] = [
    ["", []],
    [", --vae tiled", ["--vae", "tiled"]],
    ...(b.o.budgets ?? []).map((size) => [`, --memory ${size}`, ["--memory", size]] as const),
  ];
  return [
    {
      title: `Memory: ${pictureTitle(subject, b)}`,
      contenders: [
        ...ours.entries.flatMap((entry) =>
          variants.map(([name, flags]) => ({
            ...{ name: `${ownName(entry)}${name}`, isOurs: true },
            command: generate(entry, subject, b, ...flags),
          })),
        ),
        ...field.contenders,
      ],
      missing: [...ours.missing, ...field.missing],
      measures: [peak, wholeSeconds],
      compared: ["peak", "whole"],
      usualWarmUps: 0,
    },
  ];
}

/** Latent cells a side that the U-Net was made for. @throws KoalaError E_FLAG for a model without one */
async function cellsOf({ name, folder, hasUNet }: Subject): Promise<number> {
  check(hasUNet, "E_FLAG", () => ({
    where: "koala bench train-step",
    expected: "a model with a U-Net",
    got: name,
  }));
  const { config } = await openComponent(await host.openModel(folder), "unet");
  return unetConfig(config).sampleSize ?? usualCells;
}

/** Pictures a training step: the batch of `scripts/emoji`. */
const trainingBatch = 32;
const tokens = 77;

/** AdamW steps of the U-Net at the model's own size. */
export async function trainStep(b: Bench): Promise<readonly Question[]> {
  const subject = await subjectsOf(usualModelName, b);
  const ours = await ownEntries(subject, ["f32"], b);
  const theirs = unetPeers(subject, ["f32"], {
    ...b,
    o: { ...b.o, against: b.o.against.filter(({ peer }) => peer === "diffusers") }, // which alone can train
  });
  const cells = await cellsOf(subject);
  const asked = {
    ...{ batch: trainingBatch, cells, tokens, size: subject.defaults.width },
    ...{ steps: 1 + (b.o.steps ?? 5), threads: b.o.threads },
  };
  return [
    {
      title: `${subject.name}, a training step of ${trainingBatch} latents of ${cells} x ${cells}, ${b.o.threads} threads`,
      contenders: [
        ...ours.entries.map((entry) => ({
          ...{ name: ownName(entry), isOurs: true },
          command: ownProgram("train-step", { ...asked, ...own(entry) }),
        })),
        ...theirs.entries.map(({ python, precision }) => ({
          ...{ name: `PyTorch ${precision}`, isOurs: false },
          command: script(python, peerFolder(b), "diffusers_train_step", {
            ...asked,
            ...{ precision, model: subject.folder },
          }),
        })),
      ],
      missing: [...ours.missing, ...theirs.missing],
      measures: [stepSeconds, processorSeconds, peak],
      compared: ["step", "peak"],
      usualWarmUps: 0,
    },
  ];
}
