/** The numbers of the metrics against NumPy (test/golden/evaluation, by scripts/oracle/g_evaluation.py) and by hand. */

import { describe, expect, it } from "vitest";
import { fill } from "../../test/fill.ts";
import { goldenJson } from "../../test/golden.ts";
import { TorchGenerator } from "../tensor/random.ts";
import { bootstrap, choose, mean, meanEstimate, quantile } from "./chance.ts";
import { clipScore } from "./clip-score.ts";
import { eigen } from "./eigen.ts";
import { cosine, type Features, pick } from "./features.ts";
import { frechet } from "./frechet.ts";
import { preferenceScore } from "./hps.ts";
import { kernelDistance, kid } from "./kid.ts";
import { nearestPictures, nearness } from "./nearest.ts";
import { answers, type Caption, questions, rPrecision } from "./r-precision.ts";
import { reconstruction } from "./reconstruction.ts";

const golden = goldenJson("evaluation/index.json");

const features = (rows: readonly (readonly number[])[]): Features => ({
  count: rows.length,
  width: rows[0]?.length ?? 0,
  data: Float32Array.from(rows.flat()),
});

const filled = (name: string, count: number, plus = 0): Features => ({
  count,
  width: 12,
  data: fill(`input.${name}`, [count, 12]).map((x) => x + plus),
});

const [x, y] = [filled("x", 40), filled("y", 50, 0.1)];

describe("eigen", () => {
  const [rows, n] = [30, 20];
  const values = Float64Array.from(fill("input.square", [rows, n]));
  const centre = (j: number) => mean(Array.from({ length: rows }, (_, i) => values[i * n + j] ?? 0));
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      for (let r = 0; r < rows; r++)
        matrix[i * n + j] =
          (matrix[i * n + j] ?? 0) +
          (((values[r * n + i] ?? 0) - centre(i)) * ((values[r * n + j] ?? 0) - centre(j))) / (rows - 1);

  it("finds the values that LAPACK finds", () => {
    const { values: found } = eigen({ n, data: matrix });
    for (const [i, value] of golden.eigenvalues.entries()) expect(found[i]).toBeCloseTo(value, 12);
  });

  it("finds vectors that give the matrix back, and stand at right angles", () => {
    const { values: found, vectors } = eigen({ n, data: matrix });
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        let [back, angle] = [0, 0];
        for (let k = 0; k < n; k++) {
          back += (found[k] ?? 0) * (vectors.data[k * n + i] ?? 0) * (vectors.data[k * n + j] ?? 0);
          angle += (vectors.data[i * n + k] ?? 0) * (vectors.data[j * n + k] ?? 0);
        }
        expect(back).toBeCloseTo(matrix[i * n + j] ?? 0, 12);
        expect(angle).toBeCloseTo(i === j ? 1 : 0, 12);
      }
  });

  it.each([
    ["nothing", [0, 0, 0, 0], [0, 0]],
    ["a diagonal", [2, 0, 0, -1], [-1, 2]],
    ["one that is there twice", [3, 0, 0, 3], [3, 3]],
    ["a plane", [1, 1, 1, 1], [0, 2]],
  ])("takes %s", (_, data, expected) => {
    const { values: found } = eigen({ n: 2, data: Float64Array.from(data) });
    for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, 14);
  });

  it("refuses what is not finite", () => {
    expect(() => eigen({ n: 1, data: Float64Array.of(Number.NaN) })).toThrow(
      "eigen: expected a matrix of finite numbers, got NaN or infinity [E_NAN]",
    );
  });
});

describe("frechet", () => {
  it("is what NumPy computes without a symmetric root", () => {
    expect(frechet(x, y)).toBeCloseTo(golden.distances.frechet, 6); // features are float32: y + 0.1 is rounded
  });

  it("holds where there are fewer pictures than numbers in a vector", () => {
    expect(frechet(pick(x, [0, 1, 2, 3, 4, 5]), filled("y", 50))).toBeCloseTo(
      golden.distances.frechetOfFew,
      6,
    );
  });

  it("is 0 of a set with itself", () => expect(frechet(x, x)).toBeCloseTo(0, 10));

  it("is the squared way between two sets that are shifted", () => {
    const shifted = { ...x, data: x.data.map((value) => value + 0.5) };
    expect(frechet(x, shifted)).toBeCloseTo(12 * 0.25, 5);
  });

  it("needs two pictures", () => {
    expect(() => frechet(pick(x, [0]), y)).toThrow(
      "frechet: expected at least 2 pictures on either side, got 1 [E_CONFIG]",
    );
  });
});

describe("kid", () => {
  it("is what NumPy computes, of whole sets", () => {
    expect(kernelDistance(x, y)).toBeCloseTo(golden.distances.kernel, 6);
  });

  it("averages over subsets that the seed decides", () => {
    const found = kid(x, y, 7);
    expect(found).toEqual(kid(x, y, 7));
    expect(found.subset).toBe(20);
    expect(Math.abs(found.value - golden.distances.kernel)).toBeLessThan(
      (3 * found.deviation) / Math.sqrt(10), // the hundred overlap: worth about ten
    );
  });

  it("needs four pictures", () => {
    expect(() => kid(pick(x, [0, 1, 2]), y, 1)).toThrow(
      "kid: expected at least 4 pictures on either side, got 3 [E_CONFIG]",
    );
  });
});

describe("R-precision", () => {
  const pool: Caption[] = ["a", "b", "c", "d", "a"]
    .map((text) => ({ text, group: "letters" }))
    .concat({ text: "1", group: "digits" });
  const ask = (subjects: number[], ways: number, seed = 1) =>
    questions(pool, subjects, { ways, seed, where: "data" });

  it("asks with others of the group, of other wordings, the same each time", () => {
    const { asked } = ask([0, 1, 2, 3], 4);
    for (const { subject, choices } of asked) {
      expect(choices[0]).toBe(subject);
      expect(choices.map((i) => pool[i]?.text).sort()).toEqual(["a", "b", "c", "d"]);
    }
    expect(ask([0, 1, 2, 3], 3)).toEqual(ask([0, 1, 2, 3], 3));
    expect(ask([0, 1, 2, 3], 3, 2)).not.toEqual(ask([0, 1, 2, 3], 3));
    expect(ask([2], 3).asked[0]?.choices).toEqual(ask([0, 1, 2, 3], 3).asked[2]?.choices);
  });

  it("leaves out and counts a caption whose group is too small", () => {
    expect(ask([0, 5], 4)).toMatchObject({ leftOut: 1, asked: [{ subject: 0 }] });
  });

  it("says when no group is large enough", () => {
    expect(() => ask([0, 5], 32)).toThrow(
      'data: expected 32 captions in a group, for 32-way R-precision, got at most 4, in "letters" [E_CONFIG]\nFewer ways (--ways) or more captions to choose from (--train) would do.',
    );
  });

  it("says when there are no groups", () => {
    const ungrouped = [{ text: "an owl", group: null }];
    expect(() => questions(ungrouped, [0], { ways: 2, seed: 1, where: "data" })).toThrow(
      'data: expected a group with every caption, from which R-precision takes the others, got none with "an owl" [E_CONFIG]\nName the field that holds it (--group), or leave r-precision out of --metrics.',
    );
  });

  it("counts the pictures whose own caption is nearest, a tie as a miss", () => {
    const captions = features([
      [1, 0],
      [0, 1],
      [1, 1],
      [1, 0.1],
      [1, 0],
      [0, 1],
    ]);
    const at = (i: number) => pick(captions, [i]).data;
    const { asked } = ask([0, 1, 2], 4);
    expect(
      answers(
        asked,
        features([
          [5, 0],
          [9, 1],
          [1, 1],
        ]),
        at,
      ),
    ).toEqual([1, 0, 1]);
    expect(answers(asked.slice(0, 1), features([[0, 0]]), at)).toEqual([0]);
  });

  it("gives shares, and their ratio drawn together", () => {
    const real = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1];
    const drawn = [1, 0, 1, 0, 1, 0, 1, 0, 1, 1];
    const found = rPrecision(drawn, real, 3);
    expect(found.score.value).toBeCloseTo(0.6);
    expect(found.real.value).toBeCloseTo(0.9);
    expect(found.ratio.value).toBeCloseTo(2 / 3);
    expect(found.ratio.low).toBeLessThan(2 / 3);
    expect(rPrecision(real, real, 3).ratio).toEqual({ value: 1, low: 1, high: 1 });
  });

  it("has no share of the real pictures where none of them is found", () => {
    const { ratio } = rPrecision([1, 1, 0], [0, 0, 0], 3);
    expect(ratio).toEqual({ value: Number.NaN, low: Number.NaN, high: Number.NaN });
    // some draws find none of the real ones, and do not count
    const rare = rPrecision([1, 1, 1, 1], [1, 0, 0, 0], 3).ratio;
    expect([rare.value, Number.isFinite(rare.low), Number.isFinite(rare.high)]).toEqual([4, true, true]);
  });
});

describe("scores of pairs", () => {
  it("CLIPScore is 2.5 times what is above 0 of the cosine", () => {
    const { score, cosine: plain } = clipScore([0.4, -0.2], 1);
    expect(score.value).toBeCloseTo(0.5);
    expect(plain.value).toBeCloseTo(0.1);
  });

  it("the preference score is a hundred cosines", () => {
    expect(preferenceScore([0.28, 0.3], 1).value).toBeCloseTo(29);
  });

  it("the cosine of a vector without length is 0", () => {
    expect(cosine(Float32Array.of(0, 0), Float32Array.of(1, 0))).toBe(0);
    expect(cosine(Float32Array.of(3, 4), Float32Array.of(6, 8))).toBeCloseTo(1, 12);
  });
});

describe("nearest pictures", () => {
  const training = features([
    [1, 0],
    [0, 2],
    [-1, 0],
  ]);

  it("are found by angle alone, with a picture itself left out", () => {
    const pictures = features([
      [3, 0.1],
      [0.1, 1],
    ]);
    expect(nearestPictures(pictures, training).map(({ number }) => number)).toEqual([0, 1]);
    const others = nearestPictures(pictures, training, (i, j) => i === j);
    expect(others.map(({ number }) => number)).toEqual([1, 0]);
  });

  it("are counted above a threshold", () => {
    const found = nearness(
      nearestPictures(
        features([
          [1, 0],
          [1, 1],
        ]),
        training,
      ),
      0.9,
    );
    expect(found).toMatchObject({ share: 0.5 });
    expect(found.mean).toBeCloseTo((1 + Math.SQRT1_2) / 2, 6);
  });
});

describe("reconstruction", () => {
  it("is a mean of dB, where a perfect picture counts 100", () => {
    expect(reconstruction([30, 34, Number.POSITIVE_INFINITY], 1).mean.value).toBeCloseTo(164 / 3);
  });
});

describe("chance", () => {
  it("chooses without repetition, all alike likely", () => {
    const random = new TorchGenerator(5);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) for (const j of choose(4, 2, random)) counts[j] = (counts[j] ?? 0) + 1;
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(5 * Math.sqrt(1000)); // 5 deviations
    expect(choose(3, 9, random).sort()).toEqual([0, 1, 2]);
  });

  it("an interval of a mean has the width that statistics gives", () => {
    const values = Array.from(fill("input.chance", [400]));
    const { value, low, high } = meanEstimate(values, 2);
    expect(value).toBeCloseTo(mean(values), 12);
    const deviation = Math.sqrt(mean(values.map((v) => (v - value) ** 2)) / 400);
    expect(Math.abs((high - low) / (2 * 1.96 * deviation) - 1)).toBeLessThan(0.1); // 2000 draws know it to 3 %
    expect(meanEstimate([7], 1)).toEqual({ value: 7, low: 7, high: 7 });
  });

  it("leaves out draws that have no value", () => {
    for (const none of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(bootstrap(2, (members) => (members.includes(0) ? 1 : none), 1)).toEqual({
        value: 1,
        low: 1,
        high: 1,
      });
  });

  it("takes quantiles as NumPy does", () => {
    expect(quantile([4, 1, 3, 2], 0.25)).toBe(1.75);
    expect(quantile([5], 0.9)).toBe(5);
  });
});
