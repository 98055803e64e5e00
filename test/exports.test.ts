/** Every door of the package opens, has types, and keeps its main names. */

import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "..");
const { exports, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: Record<string, { source: string; types: string; default: string }>;
  bin: Record<string, string>;
};

const names: Readonly<Record<string, readonly string[]>> = {
  ".": ["Pipeline", "KoalaError", "parseRequest", "requestFields"],
  "./graph": ["grad", "compile", "interpret", "print", "digest", "verify", "matmul", "conv", "attention"],
  "./models": ["unet", "vaeDecoder", "clipText", "presets"],
  "./eval": ["openScorer", "measure", "questions", "rPrecision", "frechet", "kid"],
  "./server": ["openServer"],
  "./web": ["WorkerPipeline"],
  "./train": ["parseRun", "createTrainer", "trainingLoop", "cutUNet", "distillTask", "adamW"],
};

/** Opens in a worker of a browser only; test/browser does. */
const elsewhere = "./web/worker";

it("the worker is built, with types", () => {
  const { types, default: built } = exports[elsewhere] as (typeof exports)[string];
  for (const file of [types, built]) expect(existsSync(join(root, file)), file).toBe(true);
});

describe.each(Object.entries(exports).filter(([door]) => door !== elsewhere))("koala-diffusion%s", (door, {
  source,
  types,
  default: built,
}) => {
  it("opens from source with its names", async () => {
    const module = await import(join(root, source));
    expect(Object.keys(module)).toEqual(expect.arrayContaining([...(names[door] as readonly string[])]));
  });

  it("is built, with types", () => {
    for (const file of [types, built]) expect(existsSync(join(root, file)), file).toBe(true);
  });

  it("opens from what is built with the same names", async () => {
    const [ours, theirs] = await Promise.all([import(join(root, source)), import(join(root, built))]);
    expect(Object.keys(theirs).sort()).toEqual(Object.keys(ours).sort());
  });
});

it("every command exists", () => {
  for (const file of Object.values(bin)) expect(existsSync(join(root, file)), file).toBe(true);
});

it("each export stands in README or docs", () => {
  const pages = ["README.md", "docs/architecture.md"]
    .map((page) => readFileSync(join(root, page), "utf8"))
    .join("\n");
  for (const door of Object.keys(exports))
    expect(pages).toContain(door === "." ? '"koala-diffusion"' : `koala-diffusion${door.slice(1)}`);
});
