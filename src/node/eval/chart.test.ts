/** The chart of an evaluation: what has no number is not in it. */

import { expect, it } from "vitest";
import type { Estimate } from "../../eval/chance.ts";
import { chartSvg } from "./chart.ts";
import type { Evaluation } from "./evaluate.ts";

it("shows no number that is none, nor one whose interval has no end", async () => {
  const score: Estimate = { value: 0.5, low: 0.4, high: 0.6 };
  const svg = (ratio: Estimate): Promise<string> => {
    const measured = { rPrecision: { ways: 3, asked: 4, leftOut: 0, score, real: score, ratio } };
    const results = [{ model: "m", split: "data", measured }];
    return chartSvg({ splits: [{ pictures: { name: "data" } }], results } as unknown as Evaluation);
  };
  const share = "share of the real";
  expect(await svg(score)).toContain(share);
  for (const none of [
    { value: Number.NaN, low: Number.NaN, high: Number.NaN },
    { value: 2, low: 1, high: Number.POSITIVE_INFINITY },
  ]) {
    const drawn = await svg(none);
    expect(drawn).not.toContain(share);
    expect(drawn).toContain("R-precision, 3-way");
  }
});
