/** An analysis as files: pictures, curves, numbers, and one page with all of them. */

import { join } from "node:path";
import type { Analysis, StageMap } from "../../analyze/analyze.ts";
import { blend, heat, rgb } from "../../analyze/paint.ts";
import { grid } from "../../image/grid.ts";
import type { Picture } from "../../image/pixels.ts";
import { writeAtomically } from "../files.ts";
import { encodePicture } from "../image-file.ts";
import { escaped, figure, htmlPage } from "../page/html.ts";
import { svgOf } from "../page/vega.ts";

/** What was found in one model. */
export interface Analyzed {
  readonly model: string;
  readonly analysis: Analysis;
}

export interface WriteOptions {
  readonly command: string;
  readonly version: string;
  readonly word: string | null;
  readonly point: { readonly x: number; readonly y: number };
}

/** How much of a map lies over the picture. */
const OPACITY = 0.65;

/** Of a picture on the page, in pixels. */
const shownWidth = 160;

/** Writes into `folder` and gives the page's name. @throws KoalaError E_OUTPUT, E_DISK */
export async function writeAnalysis(
  folder: string,
  all: readonly Analyzed[],
  o: WriteOptions,
): Promise<string> {
  const body: string[] = [];
  const save = async (name: string, picture: Picture, caption: string): Promise<string> => {
    const bytes = await encodePicture(picture, "png");
    await writeAtomically(join(folder, name), bytes);
    return figure(bytes, caption, { width: Math.min(Math.max(picture.width, shownWidth), 900) });
  };
  /** A file's name for the model of this number. */
  const named = (what: string, i: number): string =>
    all.length === 1 ? `${what}.png` : `${what}-${i + 1}.png`;

  const drawn = await Promise.all(
    all.map(({ model, analysis }, i) => save(named("picture", i), analysis.picture, model)),
  );
  body.push(
    `<p class="note">${escaped(all[0]?.analysis.request.prompt ?? "")}, seed ${all[0]?.analysis.request.seed ?? 0}</p>`,
    row(drawn),
  );

  const curves = all.flatMap(({ model, analysis }) =>
    analysis.similarity.flatMap(({ stage, transformer, points }) =>
      points.map((point) => ({ model, stage, transformer, ...point })),
    ),
  );
  if (curves.length > 0) {
    const svg = await svgOf(similaritySpec(curves, all.length));
    await writeAtomically(join(folder, "similarity.svg"), svg);
    body.push(
      "<h2>Cosine of consecutive transformer layers</h2>",
      `<p class="note">Over the layer's place in its transformer; on average over tokens and steps.</p>`,
      svg,
    );
  } else if (all.some(({ analysis }) => analysis.selfAttention.length > 0))
    body.push(
      "<h2>Cosine of consecutive transformer layers</h2><p>No transformer of these models has two layers.</p>",
    );

  const maps = async (
    title: string,
    what: string,
    of: (a: Analysis) => readonly StageMap[],
  ): Promise<void> => {
    if (all.every(({ analysis }) => of(analysis).length === 0)) return;
    body.push(`<h2>${escaped(title)}</h2>`);
    for (const [i, { model, analysis }] of all.entries()) {
      const pictures = of(analysis).map(({ grid: cells, values }) =>
        blend(analysis.picture, heat(values, cells, analysis.picture), OPACITY),
      );
      const names = of(analysis).map(({ stage }) => stage.toLowerCase());
      const figures = await Promise.all(
        pictures.map((picture, at) =>
          save(
            named(`${what}-${names[at]}`, i),
            picture,
            `${of(analysis)[at]?.stage}, ${of(analysis)[at]?.values.length} tokens`,
          ),
        ),
      );
      body.push(`<p>${escaped(model)}</p>`, row(figures));
    }
  };
  const percent = (x: number): string => `${Math.round(100 * x)} %`;
  await maps(
    `Self-attention of the token at ${percent(o.point.x)} from the left, ${percent(o.point.y)} from the top`,
    "self-attention",
    (a) => a.selfAttention,
  );
  await maps(`Cross-attention to "${o.word ?? ""}"`, "word-attention", (a) => a.wordAttention);

  const featured = all.filter(({ analysis }) => analysis.features !== null);
  if (featured.length > 0) {
    const figures = await Promise.all(
      featured.map(({ model, analysis }, i) => {
        const { grid: cells, components, tap } = analysis.features as NonNullable<Analysis["features"]>;
        const shares = components.shares.map((share) => percent(share)).join(", ");
        return save(
          named("pca", i),
          rgb(components.scores, cells, analysis.picture),
          `${model}: ${tap} (${shares})`,
        );
      }),
    );
    body.push(
      "<h2>Principal components of self-attention features</h2>",
      `<p class="note">Red, green and blue are the first three, with their shares of the variance; at the middle step.</p>`,
      row(figures),
    );
  }

  const strips = all.filter(({ analysis }) => analysis.strip.length > 0);
  if (strips.length > 0) {
    body.push("<h2>Guesses of the picture on the way</h2>");
    for (const [i, { model, analysis }] of strips.entries()) {
      const steps = analysis.strip.map(({ step }) => step);
      const sized = [
        ...analysis.strip.map(({ picture }) => enlargedTo(picture, analysis.picture)),
        analysis.picture,
      ];
      const caption = `${model}: after step ${[...steps, analysis.request.steps].join(", ")}`;
      body.push(await save(named("strip", i), grid(sized, sized.length), caption));
    }
  }
  await writeAtomically(join(folder, "analysis.json"), `${JSON.stringify(numbers(all, o), null, 1)}\n`);
  body.push(`<h2>How it was made</h2><pre>${escaped(`${o.command}\nkoala-diffusion ${o.version}`)}</pre>`);
  const page = join(folder, "report.html");
  await writeAtomically(
    page,
    htmlPage(`Inside ${all.map(({ model }) => model).join(", ")}`, body.join("\n")),
  );
  return page;
}

const row = (figures: readonly string[]): string => `<div class="row">${figures.join("\n")}</div>`;

/** A rough preview has a pixel a latent cell: enlarged to the size of the others. */
function enlargedTo(picture: Picture, { width, height }: Picture): Picture {
  if (picture.width === width && picture.height === height) return picture;
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const from =
        Math.floor((y * picture.height) / height) * picture.width + Math.floor((x * picture.width) / width);
      data.set(picture.data.subarray(3 * from, 3 * from + 3), 3 * (y * width + x));
    }
  return { width, height, data };
}

const similaritySpec = (values: readonly object[], models: number) => ({
  data: { values },
  facet: {
    ...(models > 1 ? { row: { field: "model", type: "nominal", title: null } } : {}),
    column: { field: "stage", type: "nominal", title: null, sort: null },
  },
  spec: {
    width: 180,
    height: 160,
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "position", type: "quantitative", title: "layer", scale: { domain: [0, 1] } },
      y: { field: "cosine", type: "quantitative", scale: { zero: false } },
      color: { field: "transformer", type: "nominal", legend: null },
    },
  },
});

/** All that was measured, for other programs. */
const numbers = (all: readonly Analyzed[], o: WriteOptions): unknown => ({
  ...{ command: o.command, version: o.version, word: o.word, point: o.point },
  models: all.map(({ model, analysis: a }) => ({
    model,
    request: a.request,
    similarity: a.similarity,
    selfAttention: a.selfAttention.map(plain),
    wordAttention: a.wordAttention.map(plain),
    features:
      a.features === null
        ? null
        : {
            tap: a.features.tap,
            grid: a.features.grid,
            shares: a.features.components.shares,
            scores: [...a.features.components.scores],
          },
    strip: a.strip.map(({ step }) => step),
  })),
});

const plain = ({ stage, grid: cells, values }: StageMap) => ({ stage, grid: cells, values: [...values] });
