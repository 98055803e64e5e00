import { describe, expect, it } from "vitest";
import type { KoalaError } from "../core/errors.ts";
import { bytesOf, parseRun, runFields, runKinds } from "./config.ts";

const unet = { kind: "unet", model: "m", data: ["d"] };
const distill = { kind: "distill", teacher: "t", student: "koala-700m", data: ["d"] };
const consistency = { kind: "consistency", method: "pcm", teacher: "t", data: ["d"] };
const least = {
  unet,
  transformer: { ...unet, kind: "transformer" },
  distill,
  consistency,
  vae: { kind: "vae", data: ["d"] },
  clip: { kind: "clip", data: ["d"] },
};

const thrownBy = (input: unknown, nameOf?: (key: string) => string): string => {
  try {
    parseRun(input, nameOf);
  } catch (error) {
    return (error as KoalaError).message;
  }
  return "nothing";
};

describe("the configuration of a run", () => {
  it("needs little, and has a default for the rest", () => {
    expect(parseRun(unet)).toMatchObject({
      steps: 1000,
      batch: 8,
      rate: 1e-4,
      optimizer: "adamw",
      minSnr: 5,
    });
    expect(parseRun(distill)).toMatchObject({
      features: "koala",
      taskWeight: 1,
      outputWeight: 1,
      featureWeight: 1,
    });
    expect(parseRun(consistency)).toMatchObject({ rate: 2e-6, weightDecay: 0, phases: 4, loss: "huber" });
  });

  it("is the same once it is resolved", () => {
    for (const run of Object.values(least)) expect(parseRun(parseRun(run))).toEqual(parseRun(run));
  });

  it("has no default that it would refuse", () => {
    for (const kind of runKinds)
      for (const { key, fallback } of runFields(kind))
        if (fallback !== undefined)
          expect(thrownBy({ ...least[kind], [key]: fallback }), key).toBe("nothing");
  });

  it("has no field of a denoiser where there is no noise", () => {
    for (const kind of ["vae", "clip"] as const) {
      const keys = runFields(kind).map(({ key }) => key);
      for (const key of [
        "weighting",
        "minSnr",
        "noiseOffset",
        "emptyCaptions",
        "prompts",
        "sampleSteps",
        "sampleGuidance",
      ])
        expect(keys).not.toContain(key);
    }
  });

  it("leaves out what is undefined", () => {
    expect(Object.hasOwn(parseRun({ ...unet, threads: undefined }), "threads")).toBe(false);
  });
});

describe("a mistake in a run's configuration", () => {
  it.each([
    [[], "run: expected an object of fields with a kind, got [] [E_CONFIG]"],
    [{}, "kind: expected one of unet, transformer, distill, consistency, vae, clip, got nothing [E_CONFIG]"],
    [
      { kind: "distil" },
      'kind: expected one of unet, transformer, distill, consistency, vae, clip, got "distil" [E_CONFIG]\nDid you mean distill?',
    ],
    [
      { ...unet, setps: 3 },
      "setps: expected a field of a run of kind unet, got an unknown name [E_CONFIG]\nDid you mean steps?",
    ],
    [
      { kind: "unet", modle: "m", data: ["d"] },
      "modle: expected a field of a run of kind unet, got an unknown name [E_CONFIG]\nDid you mean model?",
    ],
    [
      { ...unet, patch: 8 },
      "patch: expected a field of a run of kind unet, got an unknown name [E_CONFIG]\npatch is of runs of kind vae.",
    ],
    [{ ...unet, steps: 0 }, "steps: expected a whole number from 1 to 100000000, got 0 [E_CONFIG]"],
    [{ ...unet, rate: -1 }, "rate: expected a number above 0 to 1, got -1 [E_CONFIG]"],
    [{ ...unet, rate: Number.NaN }, "rate: expected a number above 0 to 1, got NaN [E_CONFIG]"],
    [{ ...unet, ema: 1 }, "ema: expected a number from 0 to below 1, got 1 [E_CONFIG]"],
    [{ ...unet, resolution: 7 }, "resolution: expected a whole number from 8 to 4096 (px), got 7 [E_CONFIG]"],
    [{ ...unet, flips: "yes" }, 'flips: expected true or false, got "yes" [E_CONFIG]'],
    [{ ...unet, data: [] }, "data: expected a list of texts, got [] [E_CONFIG]"],
    [{ ...unet, model: 3 }, "model: expected a text, got 3 [E_CONFIG]"],
    [
      { kind: "unet", model: "m" },
      "data: expected a list of texts: what to learn from: folders of pictures, parquet or tar files, got nothing [E_CONFIG]",
    ],
    [
      { kind: "distill" },
      "teacher: expected a text: model folder or hub id to learn from, got nothing [E_CONFIG]\nA run of kind distill needs teacher, student, data.",
    ],
    [
      { ...unet, optimizer: "adam" },
      'optimizer: expected one of adamw, adam16bit, adam8bit, adafactor, muon, sgd, got "adam" [E_CONFIG]\nDid you mean adamw?',
    ],
    [{ ...distill, memory: "much" }, 'memory: expected a size such as 12GB, got "much" [E_CONFIG]'],
    [
      { ...distill, featureWeight: -1 },
      "featureWeight: expected a number from 0 to 1000000, got -1 [E_CONFIG]",
    ],
  ])("%j is told", (input, sentence) => {
    expect(thrownBy(input)).toBe(sentence);
  });

  it("is told by the caller's names, all of them where none is near", () => {
    const sentence = thrownBy({ ...unet, zzzzzzzzzz: 1 }, (key) => `--${key}`);
    expect(sentence).toMatch(
      /^zzzzzzzzzz: expected a field of a run of kind unet, got an unknown name \[E_CONFIG\]\n/,
    );
    expect(sentence).toContain("The fields are --model, --unet, --fresh, --lora, --loraTargets, --data,");
  });
});

describe("a run's fields", () => {
  it("say what they take", () => {
    const fields = new Map(runFields("distill").map((field) => [field.key, field]));
    expect(fields.get("weightDecay")).toMatchObject({ flag: "weight-decay", argument: "N", type: "number" });
    expect(fields.get("flips")).toMatchObject({ argument: null, type: "switch" });
    expect(fields.get("prompts")).toMatchObject({ argument: "TEXT", type: "list" });
    expect(fields.has("kind")).toBe(false);
  });

  it("each have a description", () => {
    for (const kind of runKinds)
      for (const { key, description } of runFields(kind)) expect(description, key).not.toBe("");
  });
});

it.each([
  ["12GB", 12e9],
  ["1.5 MB", 1.5e6],
  ["300kB", 300e3],
  ["64B", 64],
])("%s is %d bytes", (text, bytes) => expect(bytesOf(text)).toBe(bytes));
