import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KoalaError } from "../../core/errors.ts";
import type { Bench } from "./bench.ts";
import type { Command, Outcome } from "./child.ts";
import {
  type Figure,
  measuredFrom,
  measureModels,
  modelsChart,
  modelsTable,
  pictureSeconds,
  zoo,
} from "./models.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-bench-models-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const said = { text: 2, load: 9, decode: 5, calls: 4, firstStep: 30, steps: [10, 12, 11], engine: "ort" };
const outcome: Outcome = { seconds: 99, peakBytes: 3.5e9, said };

/** A bench whose children never start: they say what `outcome` has. */
function fake(ran: Command[], answer: () => Outcome = () => outcome): Bench {
  return {
    ...{ o: { models: [], against: [], threads: 2, quantized: [] }, signal: new AbortController().signal },
    ...{
      root: folder,
      cache: folder,
      temporary: folder,
      out: folder,
      python: null,
      engines: [],
      version: "1",
    },
    run: async (command) => {
      ran.push(command);
      return answer();
    },
    ...{ note() {}, stage() {}, count() {} },
  };
}

const figure: Figure = {
  ...{ preset: "koala-lightning-700m", size: 1024, steps: 10, guidance: 3.5 },
  measured: { ...measuredFrom(outcome, 4), from: "koala-700m", key: "k" },
};

describe("the figure of all models", () => {
  it("computes a picture from its prompt, the middle of the steps after the first, and its decoder", () => {
    expect(pictureSeconds(figure)).toBe(2 + 10 * 11 + 5);
  });

  it("counts the calls that a sampler makes besides one a step", () => {
    expect(measuredFrom(outcome, 3).extraCalls).toBe(1);
  });

  it("takes the first step where there is no other", () => {
    expect(measuredFrom({ ...outcome, said: { ...said, steps: [], calls: 1 } }, 1).step.median).toBe(30);
  });

  it("shows what was measured and what computed, and other machines as such", () => {
    const { title, rows } = modelsTable([figure], "a laptop");
    expect(title).toContain("on a laptop; the last columns are other machines");
    expect(rows[1]).toEqual([
      ...[
        "koala-lightning-700m",
        "1024",
        "10",
        "3.5",
        "117.0",
        "4 of 10 steps of koala-700m",
        "11.00",
        "3.50",
        "ort",
      ],
      ...["0.66 / 8.3", "1.94 / 8.2", "2.88 / 6.8"],
    ]);
    const [, whole] = modelsTable([{ ...figure, preset: "sdxl", steps: 4 }], "a laptop").rows;
    expect(whole?.[5]).toBe("whole of koala-700m");
    expect(whole?.at(-1)).toBe("out of memory");
  });

  it("has every published model, and none that is made up for tests", () => {
    expect(zoo()).toContain("pixart-sigma");
    expect(zoo()).toContain("koala-1b");
    expect(zoo()).not.toContain("tiny");
  });

  it("draws both kinds of machines", async () => {
    const svg = await modelsChart([figure], "a laptop");
    for (const text of ["a laptop", "RTX 4090 (published)", "koala-lightning-700m"])
      expect(svg).toContain(text);
  });

  it("measures networks once, whatever the steps, and goes on from what is there", async () => {
    const ran: Command[] = [];
    const { figures } = await measureModels(["koala-700m", "koala-lightning-700m"], fake(ran));
    // init and picture of the first alone: Lightning differs in steps and guidance, not in its networks
    expect(ran.map(({ args }) => args.join(" ").includes("koala.js init"))).toEqual([true, false]);
    expect(figures.map(({ preset, steps, measured }) => [preset, steps, measured.from])).toEqual([
      ["koala-700m", 25, "koala-700m"],
      ["koala-lightning-700m", 10, "koala-700m"],
    ]);
    await measureModels(["koala-lightning-700m"], fake(ran));
    expect(ran.length).toBe(2);
  });

  it("goes on without one that cannot be measured here", async () => {
    const failing = fake([], () => {
      throw new KoalaError("E_ENGINE", { where: "x", expected: "a run", got: "exit code 2: too large" });
    });
    const { figures, missing } = await measureModels(["tiny"], failing);
    expect([figures, missing]).toEqual([[], [{ name: "tiny", why: "exit code 2: too large" }]]);
  });
});
