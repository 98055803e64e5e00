import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fastGenerator } from "../../tensor/random.ts";
import { castFloat, float32, type Tensor } from "../../tensor/tensor.ts";
import { fileAnswers } from "./answers.ts";

const folder = mkdtempSync(join(tmpdir(), "koala-answers-"));
afterAll(() => rmSync(folder, { recursive: true }));

const half = (seed: number, ...shape: number[]): Tensor => {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  fastGenerator(seed, "answers").normal(data, 1);
  return castFloat(float32(shape, data), "float16");
};
const answersTo = (index: number) => ({
  prediction: half(index, 2, 4, 8, 8),
  "mid_block.attn1": half(index + 100, 2, 16, 5),
});

describe("answers in a file", () => {
  const path = join(folder, ".answers-0.tmp");

  it("come back as they were, in 2 bytes a number, in any order", async () => {
    const store = fileAnswers(path);
    expect(await store.get(0)).toBeUndefined();
    for (const index of [3, 4, 5]) await store.put(index, answersTo(index));
    expect(statSync(path).size).toBe(3 * 2 * (2 * 4 * 8 * 8 + 2 * 16 * 5));
    for (const index of [5, 3, 4, 3]) expect(await store.get(index)).toEqual(answersTo(index));
    expect(await store.get(6)).toBeUndefined();
    await store.clear();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("are forgotten when they are cleared, and others may follow", async () => {
    const store = fileAnswers(path);
    await store.put(0, answersTo(0));
    await store.put(1, answersTo(1));
    await store.clear();
    expect(await store.get(0)).toBeUndefined();
    await store.put(2, answersTo(2));
    expect(await store.get(2)).toEqual(answersTo(2));
    expect(await store.get(1)).toBeUndefined();
    await store.clear();
    await store.clear();
    expect(existsSync(path)).toBe(false);
  });

  it("take the place of what a killed run left", async () => {
    const killed = fileAnswers(path);
    await killed.put(0, answersTo(0));
    const store = fileAnswers(path);
    await store.put(1, answersTo(1));
    expect(await store.get(1)).toEqual(answersTo(1));
    await store.clear();
    await killed.clear();
  });

  it("say in a sentence that the disk is full, the folder is gone, or the file was cut short", async () => {
    const device = join(folder, "full");
    symlinkSync("/dev/full", device);
    const full = fileAnswers(device);
    await expect(full.put(0, answersTo(0))).rejects.toThrow(
      `${device}: expected room on the disk, got a full disk [E_DISK]\nFree some space, or write somewhere else.`,
    );
    await full.clear();
    const gone = join(folder, "gone");
    await expect(fileAnswers(join(gone, "a.tmp")).put(0, answersTo(0))).rejects.toThrow(
      `${gone}/a.tmp: expected a folder ${gone} to write into, got no such file or folder [E_OUTPUT]\nMake it first: mkdir -p ${gone}`,
    );
    const store = fileAnswers(path);
    await store.put(0, answersTo(0));
    truncateSync(path, 100);
    await expect(store.get(0)).rejects.toThrow(
      `${path}: expected a file that can be read, got the file became shorter while it was read [E_FILE]`,
    );
    await store.clear();
  });
});
