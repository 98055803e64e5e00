/** The study's data in another form, as a folder of pictures with a metadata.jsonl. */

import { join } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import { resample } from "../../image/resample.ts";
import { Census } from "../../train/data/census.ts";
import { checkUsable, SkipLog } from "../../train/data/sample.ts";
import { openSource } from "../data/open-source.ts";
import { whole } from "../eval/pictures.ts";
import { makeFolder, writeAtomically } from "../files.ts";
import { encodePicture } from "../image-file.ts";
import type { Variant } from "./study.ts";

/** The paper's columns of a table of training data. */
export interface DataFacts {
  readonly pictures: number;
  /** AR, in pixels. */
  readonly averageResolution: number;
  /** ACL, in words. */
  readonly meanWords: number;
}

const wordsOf = (caption: string): number => caption.split(/\s+/).filter((word) => word !== "").length;

/** Of captions the one with the fewest words, or with the most; the first of those that are alike. */
export function chosenCaption(captions: readonly string[], which: Variant["captions"]): string {
  const isBetter = (a: string, b: string): boolean =>
    which === "short" ? wordsOf(a) < wordsOf(b) : wordsOf(a) > wordsOf(b);
  return captions.reduce((best, caption) => (isBetter(caption, best) ? caption : best), captions[0] ?? "");
}

/**
 * Writes it into `folder`, and tells what it is.
 * @throws KoalaError E_FILE, E_CONFIG for data that cannot be read, E_OUTPUT, E_DISK
 */
export async function writeVariant(
  data: string,
  { every, shrink, captions: which }: Variant,
  folder: string,
  o: { readonly captions: readonly string[]; readonly balance: string | null; readonly signal: AbortSignal },
): Promise<DataFacts> {
  const source = await openSource([data], {
    captions: o.captions,
    ...(o.balance === null ? {} : { group: o.balance }),
  });
  await makeFolder(folder, { mayHaveFiles: true });
  const skips = new SkipLog();
  const census = new Census();
  const rows: string[] = [];
  let number = 0;
  for await (const sample of source.samples(skips.add)) {
    o.signal.throwIfAborted();
    if (number++ % every !== 0) continue;
    const full = await whole(sample).catch((error: KoalaError) => error);
    if (full instanceof KoalaError) {
      skips.add({ kind: "broken", id: sample.id, reason: full.message });
      continue;
    }
    const side = (pixels: number): number => Math.max(1, Math.round(pixels / shrink));
    const picture = shrink === 1 ? full : resample(full, side(full.width), side(full.height));
    const name = `${String(rows.length).padStart(6, "0")}.png`;
    const caption = chosenCaption(sample.captions, which);
    await writeAtomically(join(folder, name), await encodePicture(picture, "png"));
    census.add({ original: picture, target: picture, captions: [caption], group: sample.group });
    const group = o.balance === null ? {} : { [o.balance]: sample.group };
    rows.push(JSON.stringify({ file_name: name, [o.captions[0] ?? "text"]: caption, ...group }));
  }
  checkUsable(source.name, rows.length, skips);
  await writeAtomically(join(folder, "metadata.jsonl"), `${rows.join("\n")}\n`);
  const { pictures, averageResolution, meanWords } = census.result(skips);
  return { pictures, averageResolution, meanWords };
}
