import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writePixart } from "../../test/model-folder.ts";
import { Pipeline } from "../pipeline/pipeline.ts";
import { analyze } from "./analyze.ts";
import { explore } from "./explore.ts";

const pipelines = new Map<string, Pipeline>();
let folder = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "koala-explore-"));
  pipelines.set("a U-Net", await Pipeline.load("models/koala-emoji"));
  const pixart = writePixart(join(folder, "alpha"), "alpha");
  pipelines.set("a transformer", await Pipeline.load(pixart, { isOffline: true }));
});
afterAll(async () => {
  for (const pipeline of pipelines.values()) await pipeline.dispose();
  rmSync(folder, { recursive: true });
});

test.each([
  ["a U-Net", {}, ["DW-2", "DW-3", "UP-1", "UP-2"]],
  ["a transformer", { width: 64, height: 64 }, ["TX-1", "TX-2", "TX-3"]],
] as const)("the mean over steps of what a page is shown of %s is what a report shows", async (kind, size, stages) => {
  const pipeline = pipelines.get(kind) as Pipeline;
  const asked = { prompt: "a red apple", seed: 7, steps: 2, ...size };
  const steps: number[] = [];
  const found = await explore(pipeline, asked, { onStep: (step) => void steps.push(step) });
  expect(steps).toEqual([1, 2]);
  expect(found.words).toEqual(["a", "red", "apple"]);
  expect([found.stages, found.omitted]).toEqual([stages, []]);
  expect(found.looks).toHaveLength(2 * found.stages.length);

  const report = await analyze(pipeline, {
    ...asked,
    word: "apple",
    only: ["attention"],
    point: { x: 0, y: 0 },
  });
  for (const [maps, rowOf] of [
    [report.selfAttention, () => 0],
    [report.wordAttention, () => 2],
  ] as const)
    for (const { stage, grid, values } of maps) {
      const looks = found.looks.filter((look) => look.stage === stage);
      const tokens = grid.width * grid.height;
      for (const [t, expected] of values.entries()) {
        const at = rowOf() * tokens + t;
        const of = maps === report.selfAttention ? "self" : "cross";
        expect((looks[0]?.[of][at] ?? 0) / 2 + (looks[1]?.[of][at] ?? 0) / 2).toBeCloseTo(expected, 5);
      }
    }
  for (const { grid, self } of found.looks) {
    const tokens = grid.width * grid.height;
    expect(self).toHaveLength(tokens * tokens);
    expect(self.subarray(tokens, 2 * tokens).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
  }
});
