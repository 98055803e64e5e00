/** What a request may say, and what it hears when it may not. */

import { describe, expect, it } from "vitest";
import {
  type Defaults,
  largestSeed,
  listFromText,
  parseRequest,
  randomSeed,
  requestFields,
  resolveRequest,
} from "./request.ts";

const lightning: Defaults = {
  steps: 10,
  guidance: 3.5,
  width: 1024,
  height: 1024,
  scheduler: "euler",
  spacing: "trailing",
};

const sentence = (input: unknown, nameOf?: (key: string) => string): string => {
  try {
    parseRequest(input, nameOf);
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
};

describe("a request", () => {
  it("needs no more than a prompt", () => {
    expect(parseRequest({ prompt: "a red apple", steps: undefined })).toEqual({
      prompt: "a red apple",
      guidanceRescale: 0,
      count: 1,
      preview: false,
    });
  });

  it("takes what it leaves open from the model", () => {
    expect(resolveRequest({ prompt: "apple", steps: 4, seed: 7 }, lightning)).toEqual({
      prompt: "apple",
      ...lightning,
      steps: 4,
      seed: 7,
      guidanceRescale: 0,
      count: 1,
      preview: false,
    });
  });

  it("spreads another sampler's steps as that does, where the model says nothing and the request neither", () => {
    const silent = {
      ...lightning,
      scheduler: "pndm",
      spacing: "leading",
      usualSpacings: { euler: "linspace" },
    };
    const spacingOf = (said: object, of: Defaults = silent) =>
      resolveRequest({ prompt: "", ...said }, of).spacing;
    expect(spacingOf({})).toBe("leading");
    expect(spacingOf({ scheduler: "euler" })).toBe("linspace");
    expect(spacingOf({ scheduler: "euler", spacing: "leading" })).toBe("leading");
    expect(spacingOf({ scheduler: "euler-a" }, lightning)).toBe("trailing");
  });

  it("keeps the difference between no negative prompt, an empty one and the model's", () => {
    expect(resolveRequest({ prompt: "" }, lightning)).not.toHaveProperty("negativePrompt");
    expect(
      resolveRequest({ prompt: "", negativePrompt: "" }, { ...lightning, negativePrompt: "worst quality" })
        .negativePrompt,
    ).toBe("");
    expect(
      resolveRequest({ prompt: "" }, { ...lightning, negativePrompt: "worst quality" }).negativePrompt,
    ).toBe("worst quality");
  });

  it("has as many steps as it names timesteps", () => {
    const said = { prompt: "", timesteps: [999, 749, 499] };
    expect(resolveRequest(said, lightning)).toMatchObject({ steps: 3, timesteps: [999, 749, 499] });
  });

  it("gets a random seed with room for every picture", () => {
    const seeds = Array.from({ length: 100 }, randomSeed);
    expect(new Set(seeds).size).toBeGreaterThan(90);
    expect(Math.max(...seeds) + 63).toBeLessThanOrEqual(largestSeed);
    expect(seeds.every(Number.isSafeInteger)).toBe(true);
  });

  it("refuses a model's default that it would refuse from a user", () => {
    expect(() => resolveRequest({ prompt: "" }, { ...lightning, scheduler: "lms" })).toThrow(
      'scheduler: expected one of euler, euler-a, heun, ddim, pndm, dpmpp-2m, dpmpp-2m-karras, dpmpp-2m-sde, dpmpp-2m-sde-karras, dpmpp-3m, unipc, lcm, tcd, got "lms" [E_REQUEST]',
    );
  });
});

describe("what is wrong with a request is said in one sentence", () => {
  it("even where JSON cannot quote it", () => {
    const nested: unknown = JSON.parse("[".repeat(120_000) + "]".repeat(120_000));
    expect(sentence({ prompt: nested })).toBe(
      "prompt: expected text of at most 10000 characters, got array [E_REQUEST]",
    );
    expect(sentence({ prompt: "a", seed: 1n })).toBe(
      "seed: expected a whole number from 0 to 4294967295, got bigint [E_REQUEST]",
    );
  });

  const cases: [unknown, string][] = [
    [null, "request: expected an object with a prompt, got null [E_REQUEST]"],
    [{}, "prompt: expected text of at most 10000 characters, got nothing [E_REQUEST]"],
    [{ prompt: "a", steps: 0 }, "steps: expected a whole number from 1 to 1000, got 0 [E_REQUEST]"],
    [{ prompt: "a", steps: 1.5 }, "steps: expected a whole number from 1 to 1000, got 1.5 [E_REQUEST]"],
    [{ prompt: "a", guidance: Number.NaN }, "guidance: expected a number from 0 to 50, got NaN [E_REQUEST]"],
    [
      { prompt: "a", guidance: Number.POSITIVE_INFINITY },
      "guidance: expected a number from 0 to 50, got Infinity [E_REQUEST]",
    ],
    [
      { prompt: "a", guidanceRescale: 2 },
      "guidanceRescale: expected a number from 0 to 1, got 2 [E_REQUEST]",
    ],
    [
      { prompt: "a", width: 1020 },
      "width: expected a multiple of 8 from 8 to 4096 (px), got 1020 [E_REQUEST]",
    ],
    [
      { prompt: "a", height: "tall" },
      'height: expected a multiple of 8 from 8 to 4096 (px), got "tall" [E_REQUEST]',
    ],
    [{ prompt: "a", seed: -1 }, "seed: expected a whole number from 0 to 4294967295, got -1 [E_REQUEST]"],
    [
      { prompt: "a", seed: 4294967303 },
      "seed: expected a whole number from 0 to 4294967295, got 4294967303 [E_REQUEST]\ntorch reads the low 32 bits of a seed: 7 draws the same picture.",
    ],
    [
      { prompt: "a", seed: 4294967294, count: 3 },
      "count: expected at most 2 from seed 4294967294 on, since seeds end at 4294967295, got 3 [E_REQUEST]",
    ],
    ...[0.28, 5].map((guidanceFrom): [unknown, string] => [
      { prompt: "a", guidanceFrom, guidanceUntil: 5 },
      `guidanceFrom: expected more than guidanceUntil, 5, since noise falls from step to step, got ${guidanceFrom} [E_REQUEST]\nTo draw without guidance, set guidance to 1.`,
    ]),
    [{ prompt: "a", count: 65 }, "count: expected a whole number from 1 to 64, got 65 [E_REQUEST]"],
    [
      { prompt: "a", spacing: "even" },
      'spacing: expected one of leading, trailing, linspace, got "even" [E_REQUEST]',
    ],
    [
      { prompt: "a", scheduler: "eulr" },
      'scheduler: expected one of euler, euler-a, heun, ddim, pndm, dpmpp-2m, dpmpp-2m-karras, dpmpp-2m-sde, dpmpp-2m-sde-karras, dpmpp-3m, unipc, lcm, tcd, got "eulr" [E_REQUEST]\nDid you mean euler?',
    ],
    ...[[], [5, 5], [0.5], [10_000], "999,749", 3].map((timesteps): [unknown, string] => [
      { prompt: "a", timesteps },
      `timesteps: expected a falling list of 1 to 1000, each a whole number from 0 to 9999, got ${JSON.stringify(timesteps)} [E_REQUEST]`,
    ]),
    [
      { prompt: "a", steps: 3, timesteps: [999, 499] },
      "steps: expected none beside timesteps, or 2, as many as there are, got 3 [E_REQUEST]",
    ],
    [{ prompt: "a", preview: 1 }, "preview: expected true or false, got 1 [E_REQUEST]"],
    [{ prompt: "a", crop: 3 }, "crop: expected { left, top } (px), got 3 [E_REQUEST]"],
    [
      { prompt: "a", crop: { left: -1, top: 0 } },
      "crop.left: expected a whole number from 0 to 65536, got -1 [E_REQUEST]",
    ],
    [
      { prompt: "a", stepz: 3 },
      "stepz: expected a field of a request, got an unknown name [E_REQUEST]\nDid you mean steps?",
    ],
    [
      { prompt: "a", crop: { left: 0, top: 0, bottomless: 1 } },
      "crop.bottomless: expected a field of crop, got an unknown name [E_REQUEST]\nThe fields are left, top.",
    ],
    [
      { prompt: "x".repeat(10_001) },
      `prompt: expected text of at most 10000 characters, got "${"x".repeat(78)}… [E_REQUEST]`,
    ],
  ];
  it.each(cases)("%j", (input, expected) => {
    expect(sentence(input)).toBe(expected);
  });

  it("but not where guidance begins above the noise at which it ends, or one of both is open", () => {
    const intervals = [
      { guidanceFrom: 5.42, guidanceUntil: 0.28 },
      { guidanceFrom: 0.28 },
      { guidanceUntil: 5.42 },
    ];
    for (const interval of intervals)
      expect(parseRequest({ prompt: "a", ...interval })).toMatchObject(interval);
  });

  it("in the caller's own names", () => {
    expect(sentence({ prompt: "a", steps: 0 }, (key) => `--${key}`)).toBe(
      "--steps: expected a whole number from 1 to 1000, got 0 [E_REQUEST]",
    );
  });
});

it("a list is read from text with commas, and what is none stays text", () => {
  expect(listFromText("999, 749,499")).toEqual([999, 749, 499]);
  expect(["999,", "9.5", "", "a"].map(listFromText)).toEqual(["999,", "9.5", "", "a"]);
});

describe("the fields", () => {
  it("say everything a door needs to show", () => {
    const fields = requestFields();
    expect(fields.map(({ flag }) => flag)).toEqual([
      ...[
        "prompt",
        "negative",
        "clip-skip",
        "steps",
        "guidance",
        "guidance-rescale",
        "guidance-from",
        "guidance-until",
        "width",
        "height",
        "strength",
        "padding-mask-crop",
        "masked-content",
        "seed",
        "count",
      ],
      ...[
        "scheduler",
        "spacing",
        "sigmas",
        "timesteps",
        "eta",
        "preview",
        "precision",
        "original-size",
        "crop",
        "target-size",
      ],
    ]);
    expect(fields.every(({ description }) => description.length > 5)).toBe(true);
    expect(fields.find(({ key }) => key === "width")).toEqual({
      key: "width",
      flag: "width",
      argument: "PX",
      kind: "number",
      description: "width of the picture",
      fallback: undefined,
      allowed: "a multiple of 8 from 8 to 4096 (px)",
      choices: [],
      least: 8,
      most: 4096,
      multipleOf: 8,
    });
    expect(fields.find(({ key }) => key === "spacing")?.choices).toEqual(["leading", "trailing", "linspace"]);
    expect(fields.find(({ key }) => key === "timesteps")).toMatchObject({
      ...{ kind: "list", argument: "T,T,...", least: 0, most: 9999, multipleOf: 1 },
    });
    expect(fields.find(({ key }) => key === "crop")).toMatchObject({ least: 0, most: 65_536, multipleOf: 1 });
  });
});
