/**
 * A look inside a model while it draws one picture: what its attention looks at, what its self-attention features tell
 * apart, how much its layers change, and what the picture is guessed to be on the way. All of it through taps.
 */

import { check } from "../core/assert.ts";
import type { Picture } from "../image/pixels.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Request, RequestInput } from "../pipeline/request.ts";
import { size } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { attentionMap } from "./attention-map.ts";
import { gridOf, type TokenGrid } from "./paint.ts";
import { type Components, principalComponents } from "./pca.ts";
import { meanCosine, type SimilarityCurve } from "./similarity.ts";
import { byStage, pathBefore, type Site, sitesOf } from "./sites.ts";
import { keysSeen } from "./text-keys.ts";

export const analyses = ["similarity", "attention", "pca", "strip"] as const;
export type AnalysisName = (typeof analyses)[number];

export interface AnalysisOptions
  extends Pick<RequestInput, "prompt" | "steps" | "guidance" | "width" | "height"> {
  readonly seed: number;
  readonly only?: readonly AnalysisName[];
  /** Whose self-attention is shown: from 0 at the left and top to 1. */
  readonly point?: { readonly x: number; readonly y: number };
  /** Whose cross-attention is shown: a word of the prompt. */
  readonly word?: string;
  /** Bytes that the values of one step may take; default 4 GiB. */
  readonly tapBytes?: number;
  readonly signal?: AbortSignal;
  onStep?(step: number, steps: number): void;
}

/** Where attention goes, on average over a stage's layers and heads and over all steps; sums to 1 over a picture. */
export interface StageMap {
  readonly stage: string;
  readonly grid: TokenGrid;
  readonly values: Float64Array;
}

export interface Analysis {
  readonly request: Request;
  readonly picture: Picture;
  readonly similarity: readonly SimilarityCurve[];
  /** Of the token at the point. */
  readonly selfAttention: readonly StageMap[];
  /** Of each token to the word; empty where none was asked for. */
  readonly wordAttention: readonly StageMap[];
  /** Of the last self-attention of the first stage on the way up, or of a transformer's middle third; at the middle step. */
  readonly features: {
    readonly tap: string;
    readonly grid: TokenGrid;
    readonly components: Components;
  } | null;
  /** The picture as guessed after each step but the last. */
  readonly strip: readonly { readonly step: number; readonly picture: Picture }[];
}

/** 4 GiB. */
const usualTapBytes = 2 ** 32;
/** The colours red, green and blue. */
const COMPONENTS = 3;

/** A mean that is added to. */
class MeanMap {
  private sum = new Float64Array(0);
  private count = 0;
  add(values: Float64Array): void {
    if (this.count === 0) this.sum = new Float64Array(values.length);
    // layers of a stage that see another number of tokens than its first do not mix
    if (values.length !== this.sum.length) return;
    for (let i = 0; i < values.length; i++) this.sum[i] = (this.sum[i] ?? 0) + (values[i] ?? 0);
    this.count++;
  }
  get(): Float64Array {
    return this.sum.map((v) => v / Math.max(this.count, 1));
  }
}

/**
 * Draws one picture and looks inside.
 * @throws KoalaError E_REQUEST for a word that is not in the prompt, E_MODEL for a denoiser that has nothing to be looked
 *   into, E_MEMORY for values that are too many, and what `generate` throws
 */
export async function analyze(pipeline: Pipeline, o: AnalysisOptions): Promise<Analysis> {
  const { prompt, seed, steps, guidance, width, height } = o;
  const request = pipeline.resolve({ prompt, seed, steps, guidance, width, height, preview: true });
  const wants = (name: AnalysisName): boolean => (o.only ?? analyses).includes(name);
  const positions = o.word === undefined ? [] : pipeline.positionsOf(o.prompt, o.word);
  check(o.word === undefined || positions.length > 0, "E_REQUEST", () => ({
    where: "word",
    expected: `a word of the prompt "${o.prompt}"`,
    got: o.word ?? "",
  }));

  const shapes = pipeline.taps(request);
  const stages = byStage(sitesOf(shapes.keys()));
  const sites = [...stages.values()].flat();
  const wanted = (o.only ?? analyses).filter((name) => name !== "strip");
  check(sites.length > 0 || wanted.length === 0, "E_MODEL", () => ({
    where: "analyze",
    expected: `a denoiser with transformer blocks, for ${wanted.join(", ")}`,
    got: "one without",
    hint: "The guesses on the way (--only strip) need none.",
  }));
  const seen = keysSeen(pipeline, o.prompt, sites);
  const feature = featureSite(stages);
  const taps = new Set<string>();
  for (const { path, transformer } of sites) {
    if (wants("similarity") && sites.some((s) => s.transformer === transformer && s.layer === 1))
      taps.add(path);
    if (wants("attention")) for (const part of ["to_q", "to_k"]) taps.add(`${path}.attn1.${part}`);
    if (positions.length > 0 && wants("attention"))
      for (const part of ["to_q", "to_k"]) taps.add(`${path}.attn2.${part}`);
  }
  if (wants("pca") && feature !== null) taps.add(feature);
  checkBytes(taps, shapes, o.tapBytes ?? usualTapBytes);

  const similarity = new Map<string, number[][]>();
  const self = new Map<string, MeanMap>();
  const words = new Map<string, MeanMap>();
  let components: Components | null = null;
  let step = 0;
  const middle = Math.ceil(request.steps / 2);

  const hear = (values: Readonly<Record<string, Tensor>>): void => {
    step++;
    for (const [stage, its] of stages) {
      for (const site of its) {
        hearSimilarity(site, values, similarity);
        if (wants("attention")) {
          hearSelf(site, stage, values);
          if (positions.length > 0) hearWord(site, stage, values);
        }
      }
    }
    const tapped = feature === null ? undefined : values[feature];
    if (wants("pca") && tapped !== undefined && step === middle)
      components = principalComponents(tapped, { index: (tapped.shape[0] ?? 1) - 1, count: COMPONENTS });
  };

  function hearSelf({ path, block }: Site, stage: string, values: Readonly<Record<string, Tensor>>): void {
    const [q, k] = [values[`${path}.attn1.to_q`], values[`${path}.attn1.to_k`]];
    if (q === undefined || k === undefined) return;
    const grid = gridOf(q.shape[1] ?? 0, request);
    const { x, y } = o.point ?? { x: 0.5, y: 0.5 };
    const place = (share: number, cells: number): number => Math.min(Math.floor(share * cells), cells - 1);
    const token = place(y, grid.height) * grid.width + place(x, grid.width);
    const heads = pipeline.headsOf(block);
    const { rows } = attentionMap(q, k, { heads, index: (q.shape[0] ?? 1) - 1, rows: [token] });
    meanOf(self, stage).add(rows[0] as Float64Array);
  }

  function hearWord({ path, block }: Site, stage: string, values: Readonly<Record<string, Tensor>>): void {
    const [q, k] = [values[`${path}.attn2.to_q`], values[`${path}.attn2.to_k`]];
    if (q === undefined || k === undefined) return;
    const heads = pipeline.headsOf(block);
    const { rows } = attentionMap(q, k, { heads, index: (q.shape[0] ?? 1) - 1, seen });
    const toWord = rows.map((row) => positions.reduce((sum, position) => sum + (row[position] ?? 0), 0));
    meanOf(words, stage).add(Float64Array.from(toWord));
  }

  let picture: Picture | null = null;
  const strip: { step: number; picture: Picture }[] = [];
  const options = { taps: [...taps], hear, ...(o.signal === undefined ? {} : { signal: o.signal }) };
  for await (const event of pipeline.generate(request, options)) {
    if (event.type === "step") o.onStep?.(event.step, event.steps);
    if (event.type === "preview" && wants("strip")) strip.push({ step: event.step, picture: event.picture });
    if (event.type === "image") picture = event.picture;
  }
  const mapsOf = (means: ReadonlyMap<string, MeanMap>): StageMap[] =>
    [...means].map(([stage, mean]) => {
      const values = mean.get();
      return { stage, grid: gridOf(values.length, request), values };
    });
  return {
    request,
    picture: picture as unknown as Picture,
    similarity: curvesOf(sites, similarity),
    selfAttention: mapsOf(self),
    wordAttention: mapsOf(words),
    features:
      components === null || feature === null
        ? null
        : { tap: feature, grid: gridOf((components as Components).tokens, request), components },
    strip,
  };
}

const meanOf = (means: Map<string, MeanMap>, stage: string): MeanMap => {
  const mean = means.get(stage) ?? new MeanMap();
  means.set(stage, mean);
  return mean;
};

/**
 * The self-attention that the paper's figure shows: of the last transformer block of UP-1, or of the last stage before. A
 * diffusion transformer has nothing like it by name; TX-2 ends about as far through the network.
 */
function featureSite(stages: ReadonlyMap<string, readonly Site[]>): string | null {
  const names = [...stages.keys()];
  const stage =
    stages.get("UP-1") ??
    stages.get("TX-2") ??
    stages.get(names.find((name) => name.startsWith("UP")) ?? names.at(-1) ?? "");
  const site = stage?.at(-1);
  return site === undefined ? null : `${site.path}.attn1`;
}

/** Adds the cosine of a site and the one before it in its transformer. */
function hearSimilarity(
  site: Site,
  values: Readonly<Record<string, Tensor>>,
  found: Map<string, number[][]>,
): void {
  const { transformer, layer, path } = site;
  const own = values[path];
  const before = values[pathBefore(site)];
  if (own === undefined || before === undefined) return;
  const pairs = found.get(transformer) ?? [];
  pairs[layer - 1] = [...(pairs[layer - 1] ?? []), meanCosine(before, own)];
  found.set(transformer, pairs);
}

function commonStage(sites: readonly Site[]): string {
  const [first = "", ...others] = new Set(sites.map(({ stage }) => stage));
  return others.length === 0 ? first : first.replace(/-\d+$/, "");
}

function curvesOf(
  sites: readonly Site[],
  found: ReadonlyMap<string, readonly number[][]>,
): SimilarityCurve[] {
  return [...found].map(([transformer, pairs]) => ({
    // one that goes through several stages, TX-1 to TX-3, is TX
    stage: commonStage(sites.filter((site) => site.transformer === transformer)),
    transformer,
    points: pairs.map((cosines, i) => ({
      position: (i + 1) / pairs.length,
      cosine: cosines.reduce((a, b) => a + b, 0) / cosines.length,
    })),
  }));
}

function checkBytes(
  taps: ReadonlySet<string>,
  shapes: ReadonlyMap<string, readonly number[]>,
  most: number,
): void {
  const guided = 2; // the network sees both prompts
  const bytes = [...taps].reduce((sum, name) => sum + guided * 4 * size([...(shapes.get(name) ?? [])]), 0);
  const megabytes = (n: number): string => `${Math.ceil(n / 1e6)} MB`;
  check(bytes <= most, "E_MEMORY", () => ({
    where: "analyze",
    expected: `values of at most ${megabytes(most)} in a step`,
    got: `${megabytes(bytes)} in ${taps.size} taps`,
    hint: "Ask for a smaller picture, or for fewer analyses (--only).",
  }));
}
