/** An evaluation on one page, in an HTML file that needs no other: tables, chart, samples beside what they are most like. */

import type { Picture } from "../../image/pixels.ts";
import { resample } from "../../image/resample.ts";
import { encodePicture, readPicture } from "../image-file.ts";
import { escaped, htmlPage, htmlTable } from "../page/html.ts";
import { chartSvg } from "./chart.ts";
import { fileOf } from "./draw.ts";
import type { Evaluation, Result } from "./evaluate.ts";
import { remarksOf, tableOf } from "./lines.ts";
import { type Pictures, readPictures, whole } from "./pictures.ts";

/** Samples on the page, a model and part of the data: enough to judge, few enough to send. */
const mostSamples = 64;
/** Of a picture on the page, in pixels. */
const side = 112;

const style = `
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(${3 * side + 24}px, 1fr)); gap: 1rem; }
.grid figure { margin: 0; } .grid figcaption { font-size: .8rem; line-height: 1.35; color: #222; }
.grid img { width: ${side}px; height: ${side}px; object-fit: contain; margin-right: 4px; border: 1px solid #eee; }`;

async function image(picture: Picture, what: string): Promise<string> {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const small =
    scale === 1
      ? picture
      : resample(
          picture,
          Math.max(1, Math.round(picture.width * scale)),
          Math.max(1, Math.round(picture.height * scale)),
        );
  const data = Buffer.from(await encodePicture(small, "webp")).toString("base64");
  return `<img alt="${escaped(what)}" title="${escaped(what)}" src="data:image/webp;base64,${data}">`;
}

/** The page. `settings` is what the reader may want to know of how it was made. */
export async function reportPage(
  evaluation: Evaluation,
  settings: Readonly<Record<string, unknown>>,
): Promise<string> {
  const tables = evaluation.splits.map(({ pictures: { name }, chosen }) => {
    const results = evaluation.results.filter(({ split }) => split === name);
    const notes = remarksOf(results).map((remark) => `<p class="note">${escaped(remark)}</p>`);
    const rows = tableOf(results, "");
    const columns = rows[0]?.map((_, i) => i).slice(1);
    return `<h2>${escaped(name)}: ${chosen.length} captions</h2>\n${htmlTable(rows, columns)}\n${notes.join("\n")}`;
  });
  const sheets: string[] = [];
  for (const result of evaluation.results)
    if (result.folder !== null) sheets.push(await sheet(result, evaluation));
  const body = [
    `<p class="note">In brackets: the interval that holds the number in 95 of 100 repetitions with other captions (bootstrap).</p>`,
    ...tables,
    "<h2>Chart</h2>",
    await chartSvg(evaluation),
    ...sheets,
    "<h2>Settings</h2>",
    `<pre>${escaped(JSON.stringify(settings, null, 2))}</pre>`,
  ];
  return htmlPage("Evaluation", body.join("\n"), style);
}

/** Evenly spread over all, so that every group is seen. */
function spread(count: number): number[] {
  const most = Math.min(count, mostSamples);
  return Array.from({ length: most }, (_, i) => Math.floor((i * count) / most));
}

async function picturesOf(pictures: Pictures, numbers: readonly number[]): Promise<Map<number, Picture>> {
  const found = new Map<number, Picture>();
  for await (const { number, picture } of readPictures(pictures, whole, new Set(numbers)))
    found.set(number, picture);
  return found;
}

/** Each sample, the real picture of its caption, and the training picture that it is most like. */
async function sheet(
  { model, split, tasks, folder, details }: Result,
  { splits, train }: Evaluation,
): Promise<string> {
  const part = splits.find(({ pictures }) => pictures.name === split);
  if (part === undefined || folder === null) return "";
  const shown = spread(tasks.length);
  const neighbours = shown.map((i) => details.neighbours[i]?.number ?? -1);
  const real = await picturesOf(
    part.pictures,
    shown.map((i) => tasks[i]?.number ?? 0),
  );
  const near = await picturesOf(train, neighbours);
  const figures: string[] = [];
  for (const [at, i] of shown.entries()) {
    const task = tasks[i];
    if (task === undefined) continue;
    const neighbour = neighbours[at] ?? -1;
    const [asked, most] = [real.get(task.number), near.get(neighbour)];
    const images = [
      await image(await readPicture(fileOf(folder, task)), "drawn"),
      asked === undefined ? "" : await image(asked, "real"),
      most === undefined ? "" : await image(most, "nearest training picture"),
    ];
    const facts = [
      details.isFound[i] === false ? "not found among the others" : "",
      details.cosines[i] === undefined ? "" : `cosine ${details.cosines[i].toFixed(3)}`,
      most === undefined
        ? ""
        : `nearest: ${train.entries[neighbour]?.text} (${details.neighbours[i]?.cosine.toFixed(3)})`,
    ].filter((fact) => fact !== "");
    figures.push(
      `<figure>${images.join("")}<figcaption>${escaped(task.prompt)}<br><small>${escaped(facts.join("; "))}</small></figcaption></figure>`,
    );
  }
  const order = `drawn, real${near.size > 0 ? ", nearest training picture" : ""}`;
  return `<h2>${escaped(model)}, ${escaped(split)}</h2>\n<p class="note">${figures.length} of ${tasks.length}. From left to right: ${order}.</p>\n<div class="grid">\n${figures.join("\n")}\n</div>`;
}
