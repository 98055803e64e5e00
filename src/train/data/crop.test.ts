/** Crops: bilinear, so that what is linear in place stays so. */

import { expect, it } from "vitest";
import { fastGenerator } from "../../tensor/random.ts";
import { float32, toFloat32 } from "../../tensor/tensor.ts";
import { cropAgain } from "./crop.ts";

const side = 16;
/** A ramp to the right in one channel, and one down in the other. */
const ramps = float32(
  [1, 2, side, side],
  Float32Array.from({ length: 2 * side * side }, (_, i) =>
    i < side * side ? i % side : Math.floor((i - side * side) / side),
  ),
);

it("keeps a picture as it is where nothing is to be cropped", () => {
  expect(cropAgain(ramps, 1, fastGenerator(1, "crop"))).toBe(ramps);
});

it("shows a square of at least that share of the sides, enlarged", () => {
  for (let seed = 0; seed < 20; seed++) {
    const out = toFloat32(cropAgain(ramps, 0.5, fastGenerator(seed, "crop")));
    const at = (channel: number, row: number, column: number): number =>
      out[(channel * side + row) * side + column] ?? Number.NaN;
    // inside, where no pixel beyond the edge was asked for
    const step = at(0, 8, 9) - at(0, 8, 8);
    expect(step).toBeGreaterThan(0.5 - 1e-5);
    expect(step).toBeLessThan(1 + 1e-5);
    expect(at(1, 9, 8) - at(1, 8, 8)).toBeCloseTo(step, 4);
    expect(at(0, 2, 8)).toBeCloseTo(at(0, 13, 8), 5);
    expect(Math.min(...out)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...out)).toBeLessThanOrEqual(side - 1);
  }
});
