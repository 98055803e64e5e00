/** What a distillation takes, against counts by hand. */

import { describe, expect, it } from "vitest";
import { presets } from "../../models/presets.ts";
import { noStore } from "../flat.ts";
import { unetNetwork } from "../networks/unet.ts";
import { adafactor } from "../optim/adafactor.ts";
import { adam8bit, adamW } from "../optim/adam.ts";
import { sgd } from "../optim/transform.ts";
import { featurePairs } from "./features.ts";
import { distillMemory, momentBytes } from "./memory.ts";

const plain = sgd({ momentum: 0 });
const sdxl = unetNetwork(presets.sdxl.unet, noStore);
const student = unetNetwork(presets["koala-700m"].unet, noStore);
const size = { batch: 1, height: 64, width: 64, tokens: 77 }; // 512 px
const pairs = featurePairs(sdxl, student, { size });

describe("the memory of SDXL teaching KOALA-700M at 512 px", () => {
  const bytes = 4 * 782_822_724;
  // DW-2 and UP-2: 6 layers of 1024 tokens × 640; DW-3 and UP-1: 15 of 256 × 1280; DW-1 and UP-3: [320, 32, 32], [320, 64, 64]
  const taps = 6 * 1024 * 640 + 15 * 256 * 1280 + 320 * 32 * 32 + 320 * 64 * 64;
  const prediction = 4 * 64 * 64;

  it("is weights, gradients, moments and targets, together or in turns", () => {
    const memory = distillMemory({ teacher: sdxl, student, size, pairs, optimizer: adamW(), hasEma: true });
    const targets = 4 * (taps + prediction);
    const teacherWeights = 4 * 2_567_463_684;
    expect(memory).toEqual({
      teacherWeights,
      studentWeights: bytes,
      gradients: bytes,
      moments: 2 * bytes,
      ema: bytes,
      targets,
      together: 5 * bytes + targets + teacherWeights,
      inTurns: 4 * bytes + targets + teacherWeights,
    });
  });

  it("shrinks with halves and counts every kept batch", () => {
    const memory = distillMemory({
      teacher: sdxl,
      student,
      size,
      pairs,
      optimizer: plain,
      teacherDtype: "float16",
      targetDtype: "float16",
      keptBatches: 8,
    });
    expect(memory).toMatchObject({
      teacherWeights: 2 * 2_567_463_684,
      moments: 0,
      ema: 0,
      targets: 8 * 2 * (taps + prediction),
    });
  });

  it("has no teacher's part without one", () => {
    const memory = distillMemory({ teacher: null, student, size, pairs: [], optimizer: adamW() });
    expect(memory).toMatchObject({ teacherWeights: 0, targets: 0, together: 4 * bytes, inTurns: 4 * bytes });
  });
});

it("a teacher's tap that several of the student's learn from is kept once", () => {
  const twice = [...pairs, ...pairs];
  const once = distillMemory({ teacher: sdxl, student, size, pairs, optimizer: plain }).targets;
  expect(distillMemory({ teacher: sdxl, student, size, pairs: twice, optimizer: plain }).targets).toBe(once);
});

it("moments take what each rule keeps of a shape", () => {
  expect(momentBytes(adamW(), [10, 20])).toBe(2 * 4 * 200);
  expect(momentBytes(adam8bit(), [4096])).toBe(2 * (4096 + 2 * 4));
  expect(momentBytes(adafactor(), [10, 20])).toBe(4 * (10 + 20));
  expect(momentBytes(adafactor(), [5, 4, 3, 3])).toBe(4 * 5 * 4 * (3 + 3));
  expect(momentBytes(adafactor(), [7])).toBe(4 * 7);
  expect(momentBytes(plain, [7])).toBe(0);
  expect(momentBytes(sgd(), [7])).toBe(4 * 7);
});
