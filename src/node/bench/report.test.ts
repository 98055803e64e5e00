import { describe, expect, it } from "vitest";
import { table } from "../cli/tables.ts";
import type { Contest, Measure, Standing } from "./contest.ts";
import type { Question } from "./questions.ts";
import {
  barChart,
  jsonOf,
  markdownOf,
  missingSentences,
  ratioTables,
  spreadText,
  standingsTable,
} from "./report.ts";

const step: Measure = {
  ...{ key: "step", title: "s a step", digits: 2 },
  of: ({ said }) => said.steps as number[],
};
const peak: Measure = {
  ...{ key: "peak", title: "peak GB", digits: 1 },
  of: ({ peakBytes }) => (peakBytes === null ? [] : [peakBytes / 1e9]),
};
const question: Question = {
  ...{ title: "a U-Net", contenders: [], compared: ["step"], usualWarmUps: 0, measures: [step, peak] },
  missing: [{ name: "OpenVINO int8", why: "python has no nncf" }],
};
const standing = (name: string, isOurs: boolean, ...rounds: number[][]): Standing => ({
  contender: { name, isOurs, command: { program: name, args: ["x"] } },
  runs: rounds.map((steps) => ({ seconds: 1, peakBytes: isOurs ? 2e9 : null, said: { steps } })),
});
const contest: Contest = {
  standings: [
    standing("koala ort f32", true, [1, 1.2], [1.1]),
    standing("diffusers f32", false, [2], [4]),
    standing("diffusers bf16", false, [1], [1]),
  ],
  missing: [],
};

describe("a contest's report", () => {
  it("is a table of medians with least and most, and dashes for what is not known", () => {
    const { title, rows } = standingsTable(question, contest);
    expect(`${title}\n${table(rows, [1, 2])}`).toBe(
      [
        "a U-Net",
        "                        s a step  peak GB",
        "koala ort f32   1.10 (1.00 to 1.20)      2.0",
        "diffusers f32   3.00 (2.00 to 4.00)        -",
        "diffusers bf16                 1.00        -",
        "",
      ]
        .join("\n")
        .replace("                        s a step", "                           s a step"),
    );
  });

  it("has a table of ratios a measure that is compared, rounds against rounds", () => {
    expect(ratioTables(question, contest)).toEqual([
      {
        title: "s a step: ours over theirs",
        rows: [
          ["", "diffusers f32", "diffusers bf16"],
          ["koala ort f32", "0.41 (0.28 to 0.55)", "1.10"],
        ],
      },
    ]);
    const alone = { standings: contest.standings.slice(0, 1), missing: [] };
    expect(ratioTables(question, alone)).toEqual([]);
  });

  it("says each reason once, for all whom it keeps away", () => {
    const why = "there is no Python with it";
    expect(
      missingSentences([
        { name: "diffusers", why },
        { name: "OpenVINO int8", why: "python has no nncf" },
        { name: "OpenVINO", why },
        { name: "OpenVINO", why },
      ]),
    ).toEqual([
      "Without diffusers, OpenVINO: there is no Python with it.",
      "Without OpenVINO int8: python has no nncf.",
    ]);
  });

  it("is a page's table", () => {
    expect(
      markdownOf({
        title: "t",
        rows: [
          ["", "s"],
          ["koala", "1"],
        ],
      }),
    ).toBe("**t**\n\n|  | s |\n| --- | ---: |\n| koala | 1 |");
  });

  it("keeps every run in its JSON", () => {
    const json = jsonOf(question, contest) as { contenders: { runs: unknown[]; measures: object }[] };
    expect(json.contenders[0]?.runs.length).toBe(2);
    expect(json.contenders[0]?.measures).toEqual({
      step: { median: 1.1, least: 1, most: 1.2, count: 3 },
      peak: { median: 2, least: 2, most: 2, count: 2 },
    });
    expect(json).toMatchObject({ missing: [{ name: "OpenVINO int8" }] });
  });

  it("is a chart with every contender and measure, and a bar as long as its number", async () => {
    const svg = await barChart([[question, contest]]);
    for (const text of ["koala ort f32", "diffusers bf16", "s a step", "peak GB", "1.10", "3.00"])
      expect(svg).toContain(`>${text}<`);
  });

  it("leaves the spread away where there is none", () => {
    expect(spreadText({ median: 2, least: 2, most: 2, count: 1 }, 1)).toBe("2.0");
    expect(spreadText({ median: 2, least: 1.99, most: 2.01, count: 3 }, 1)).toBe("2.0");
    expect(spreadText(null, 1)).toBe("-");
  });
});
