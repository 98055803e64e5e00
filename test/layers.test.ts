/** The direction that imports may run, as data, and no file-level cycles. Type-only imports count too. */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../src");

/** A folder may import what its row names, itself and `core`. "" is the doors at the top of src/. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  core: [],
  tensor: [],
  graph: ["tensor"],
  ops: ["graph", "tensor"],
  autodiff: ["ops", "graph", "tensor"],
  passes: ["ops", "graph", "tensor"],
  onnx: ["graph", "tensor"],
  runtime: ["graph", "tensor"], // graph: the name of a lowering target
  engine: ["ops", "graph", "passes", "onnx", "runtime", "tensor"],
  nn: ["ops", "graph", "tensor"],
  models: ["nn", "ops", "graph", "tensor"],
  diffusion: ["tensor"],
  text: ["tensor"],
  image: ["tensor"],
  weights: ["tensor"],
  pipeline: [
    "models",
    "engine",
    "passes",
    "quantize",
    "runtime",
    "diffusion",
    "text",
    "image",
    "weights",
    "graph",
    "tensor",
  ],
  train: [
    "pipeline",
    "models",
    "nn",
    "ops",
    "graph",
    "engine",
    "autodiff",
    "passes",
    "runtime",
    "diffusion",
    "text",
    "image",
    "weights",
    "tensor",
  ],
  quantize: ["models", "ops", "graph", "engine", "passes", "runtime", "tensor"],
  eval: ["pipeline", "models", "engine", "runtime", "text", "image", "weights", "graph", "tensor"],
  analyze: ["eval", "pipeline", "image", "tensor"],
  hub: ["weights", "tensor"],
  web: [
    "analyze",
    "hub",
    "pipeline",
    "models",
    "engine",
    "onnx",
    "runtime",
    "image",
    "weights",
    "graph",
    "tensor",
  ],
  node: [
    "analyze",
    "quantize",
    "hub",
    "eval",
    "train",
    "pipeline",
    "models",
    "nn",
    "engine",
    "passes",
    "onnx",
    "runtime",
    "diffusion",
    "text",
    "image",
    "weights",
    "ops",
    "graph",
    "tensor",
  ],
  "": ["*"],
};

/** Packages that one file, or one folder, alone may speak to. */
const onlyIn: Readonly<Record<string, RegExp>> = {
  "@bufbuild/protobuf": /^onnx\//,
  "@bufbuild/protobuf/wire": /^text\/sentencepiece\.ts$/,
  "onnxruntime-node": /^node\/ort-node\.ts$/,
  "@huggingface/tokenizers": /^text\//,
  "@huggingface/hub": /^hub\//,
  "onnxruntime-web": /^web\//,
  "@noble/hashes": /^web\//,
  sharp: /^node\//,
  undici: /^node\/hub-proxy\.ts$/,
  hyparquet: /^node\/data\//,
  "hyparquet-compressors": /^node\/data\//,
  "tar-stream": /^node\/data\//,
  koffi: /^node\//,
  commander: /^node\/cli\//,
  "cli-progress": /^node\/cli\//,
  asciichart: /^node\/cli\//,
  yaml: /^node\//,
  vega: /^node\/page\//,
  "vega-lite": /^node\/page\//,
  hono: /^node\/server\//,
  "@hono/node-server": /^node\/server\//,
  libsql: /^node\/server\/store\.ts$/,
  "prom-client": /^node\/server\/metrics\.ts$/,
  pino: /^node\/(server|cli)\//,
  bullmq: /^node\/server\/redis-/,
  ioredis: /^node\/server\/redis-/,
  "#host": /^runtime\/host\.ts$/,
};

const files = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
  .map((file) => file.replaceAll("\\", "/"));

/** What each file imports: relative ones as paths within src/, packages by name. */
const imports = new Map(
  files.map((file) => {
    const text = readFileSync(join(root, file), "utf8");
    const specifiers = [
      ...text.matchAll(/^\s*(?:import|export)\b[^;]*?from\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm),
    ];
    return [
      file,
      specifiers.map((match) => {
        const specifier = (match[1] ?? match[2]) as string;
        if (!specifier.startsWith(".")) return specifier;
        return relative(root, resolve(root, dirname(file), specifier)).replaceAll("\\", "/");
      }),
    ];
  }),
);

const folderOf = (file: string): string => (file.includes("/") ? (file.split("/")[0] as string) : "");
const isOurs = (specifier: string): boolean => imports.has(specifier);

describe("imports", () => {
  it("run in the direction of the table", () => {
    const wrong = [...imports].flatMap(([file, specifiers]) => {
      const from = folderOf(file);
      const row = allowed[from] ?? [];
      return specifiers
        .filter(isOurs)
        .filter((to) => !row.includes("*") && ![from, "core", ...row].includes(folderOf(to)))
        .map((to) => `${file} imports ${to}`);
    });
    expect(wrong).toEqual([]);
  });

  it("name every folder in the table", () => {
    expect([...new Set(files.map(folderOf))].filter((folder) => allowed[folder] === undefined)).toEqual([]);
  });

  it("point at files that exist", () => {
    const lost = [...imports].flatMap(([file, specifiers]) =>
      specifiers.filter((s) => s.endsWith(".ts") && !isOurs(s)).map((s) => `${file} imports ${s}`),
    );
    expect(lost.filter((line) => !line.endsWith(".d.ts"))).toEqual([]);
  });

  it("make no cycle", () => {
    const state = new Map<string, "open" | "done">();
    const path: string[] = [];
    const cycles: string[] = [];
    const visit = (file: string): void => {
      if (state.get(file) === "done") return;
      if (state.get(file) === "open") {
        cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
        return;
      }
      state.set(file, "open");
      path.push(file);
      for (const to of (imports.get(file) ?? []).filter(isOurs)) visit(to);
      path.pop();
      state.set(file, "done");
    };
    for (const file of files) visit(file);
    expect(cycles).toEqual([]);
  });

  it("reach each package from its one place", () => {
    const wrong = [...imports].flatMap(([file, specifiers]) =>
      specifiers
        .filter((s) => onlyIn[s] !== undefined && !onlyIn[s].test(file))
        .map((s) => `${file} imports ${s}`),
    );
    expect(wrong).toEqual([]);
  });

  it("keep Node out of everything but node/", () => {
    const wrong = [...imports].flatMap(([file, specifiers]) =>
      specifiers
        .filter((s) => s.startsWith("node:") && folderOf(file) !== "node")
        .map((s) => `${file} imports ${s}`),
    );
    expect(wrong).toEqual([]);
  });
});
