/** Guidance against diffusers' own functions on small numbers. */

import { expect, test } from "vitest";
import { guide, rescaleGuidance } from "./guidance.ts";

test("guidance goes from the unconditional prediction through the conditional one", () => {
  const u = Float32Array.of(1, 2);
  const c = Float32Array.of(3, -2);
  expect([...guide(u, c, 3.5)]).toEqual([8, -12]);
  expect(guide(u, c, 1)).toEqual(c);
  expect(guide(u, c, 0)).toEqual(u);
});

test("rescaling equals diffusers' rescale_noise_cfg, picture by picture", () => {
  const guided = Float32Array.of(1, 2, 3, 5, 0.5, -1, 2, 8);
  const conditional = Float32Array.of(0.5, 1, 1.5, 2, 1, 0, -1, 3);
  // rescale_noise_cfg of diffusers 0.42 on the same numbers as [2, 1, 2, 2], guidance_rescale 0.7
  const expected = [
    0.5645750761032104, 1.129150152206421, 1.693725347518921, 2.822875499725342, 0.3015206456184387,
    -0.6030412912368774, 1.2060825824737549, 4.8243303298950195,
  ];
  const actual = rescaleGuidance(guided, conditional, 0.7, 2);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 6);
  expect(rescaleGuidance(guided, conditional, 0, 2)).toEqual(guided);
});
