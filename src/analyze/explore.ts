/**
 * Everything that a page needs to let someone walk through a model's attention: by stage and step, for every point and
 * every word, of one picture. `analyze` is for reports; it averages over steps and keeps one point.
 */

import type { Picture } from "../image/pixels.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Request, RequestInput } from "../pipeline/request.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { attentionMap } from "./attention-map.ts";
import { gridOf, type TokenGrid } from "./paint.ts";
import { type Components, principalComponents } from "./pca.ts";
import { byStage, type Site, sitesOf } from "./sites.ts";
import { keysSeen } from "./text-keys.ts";

/** One stage at one step, on average over its layers and heads. */
export interface StageLook {
  readonly step: number;
  readonly stage: string;
  readonly grid: TokenGrid;
  /** [S, S]: row s is where token s looks; it sums to 1. */
  readonly self: Float32Array;
  /** [W, S]: how much each token looks at each of `words`. */
  readonly cross: Float32Array;
  /** Of the last self-attention's output, as colours: [S, 3]. */
  readonly features: Components;
}

export interface Exploration {
  readonly request: Request;
  readonly picture: Picture;
  readonly words: readonly string[];
  /** In the order of the network. */
  readonly stages: readonly string[];
  /** Stages whose maps are too large to keep for every point. */
  readonly omitted: readonly string[];
  readonly looks: readonly StageLook[];
  /** Seconds of each step, with taps read. */
  readonly seconds: readonly number[];
}

/** A map of every point to every other of this many tokens takes 4 MiB a stage and step. */
const MAX_TOKENS = 1024;
/** Red, green and blue. */
const COLOURS = 3;

/** The words of a prompt, each once. */
const wordsOf = (prompt: string): string[] => [...new Set(prompt.match(/[\p{L}\p{N}'-]+/gu) ?? [])];

/**
 * Draws one picture and looks inside at every step.
 * @throws KoalaError as `generate`
 */
export async function explore(
  pipeline: Pipeline,
  input: RequestInput,
  o: { readonly signal?: AbortSignal; onStep?(step: number, steps: number): Promise<void> | void } = {},
): Promise<Exploration> {
  const request = pipeline.resolve({ ...input, count: 1, preview: false });
  const shapes = pipeline.taps(request);
  const all = byStage(sitesOf(shapes.keys()));
  const tokensOf = (site: Site | undefined): number => shapes.get(`${site?.path}.attn1.to_q`)?.[1] ?? 0;
  const stages = new Map([...all].filter(([, sites]) => tokensOf(sites[0]) <= MAX_TOKENS));
  const words = wordsOf(request.prompt).filter(
    (word) => pipeline.positionsOf(request.prompt, word).length > 0,
  );
  const positions = words.map((word) => pipeline.positionsOf(request.prompt, word));
  const seen = keysSeen(pipeline, request.prompt, [...all.values()].flat());
  const parts = ["attn1.to_q", "attn1.to_k", "attn2.to_q", "attn2.to_k"];
  const taps = [...stages.values()].flatMap((sites) => [
    ...sites.flatMap(({ path }) => parts.map((part) => `${path}.${part}`)),
    `${sites.at(-1)?.path}.attn1`,
  ]);

  const looks: StageLook[] = [];
  const hear = (values: Readonly<Record<string, Tensor>>): void => {
    const step = 1 + (looks.at(-1)?.step ?? 0);
    for (const [stage, sites] of stages)
      looks.push(look(pipeline, stage, sites, { step, values, positions, seen, request }));
  };
  let picture: Picture | null = null;
  const seconds: number[] = [];
  const options = { taps, hear, ...(o.signal === undefined ? {} : { signal: o.signal }) };
  for await (const event of pipeline.generate(request, options)) {
    if (event.type === "step") {
      seconds.push(event.seconds);
      await o.onStep?.(event.step, event.steps);
    }
    if (event.type === "image") picture = event.picture;
  }
  return {
    ...{ request, words, looks, seconds, stages: [...stages.keys()] },
    omitted: [...all.keys()].filter((stage) => !stages.has(stage)),
    picture: picture as unknown as Picture,
  };
}

interface Heard {
  readonly step: number;
  readonly values: Readonly<Record<string, Tensor>>;
  /** Of each word. */
  readonly positions: readonly (readonly number[])[];
  /** Tokens of the text that are attended to; undefined: all. */
  readonly seen: number | undefined;
  readonly request: Request;
}

/** The means over a stage's layers; layers that see another number of tokens than its first are left out. */
function look(pipeline: Pipeline, stage: string, sites: readonly Site[], h: Heard): StageLook {
  const tap = (site: Site, part: string): Tensor => h.values[`${site.path}.${part}`] as Tensor;
  const first = sites[0] as Site;
  const tokens = tap(first, "attn1.to_q").shape[1] ?? 0;
  const alike = sites.filter((site) => tap(site, "attn1.to_q").shape[1] === tokens);
  const self = new Float32Array(tokens * tokens);
  const cross = new Float32Array(h.positions.length * tokens);
  for (const site of alike) {
    const heads = pipeline.headsOf(site.block);
    const map = (kind: string, seen?: number) => {
      const q = tap(site, `${kind}.to_q`);
      return attentionMap(q, tap(site, `${kind}.to_k`), { heads, index: (q.shape[0] ?? 1) - 1, seen }).rows;
    };
    for (const [s, row] of map("attn1").entries())
      for (let t = 0; t < tokens; t++)
        self[s * tokens + t] = (self[s * tokens + t] ?? 0) + (row[t] ?? 0) / alike.length;
    for (const [s, row] of map("attn2", h.seen).entries())
      for (const [w, its] of h.positions.entries())
        cross[w * tokens + s] =
          (cross[w * tokens + s] ?? 0) + its.reduce((sum, p) => sum + (row[p] ?? 0), 0) / alike.length;
  }
  const output = tap(sites.at(-1) as Site, "attn1");
  const features = principalComponents(output, { index: (output.shape[0] ?? 1) - 1, count: COLOURS });
  return { step: h.step, stage, grid: gridOf(tokens, h.request), self, cross, features };
}
