/** A data set's census straight from its files, without a cache. */

import { KoalaError } from "../../core/errors.ts";
import { Census, type CensusResult } from "../../train/data/census.ts";
import { checkUsable, type DataSource, SkipLog } from "../../train/data/sample.ts";
import type { ViewOptions } from "../../train/data/view.ts";
import { decodeView, viewOf } from "./decode.ts";

export interface SurveyOptions {
  readonly view: ViewOptions;
  /** Whether each picture is decoded to its end, which finds all that are broken; else its head tells its size. */
  readonly isThorough: boolean;
  readonly countTokens?: (caption: string) => number;
  readonly signal?: AbortSignal;
  onProgress?(done: number, total: number | null): void;
}

/**
 * Counts all of `source`.
 * @throws KoalaError E_FILE when nothing of it can be used, and as the source throws
 */
export async function surveyData(source: DataSource, o: SurveyOptions): Promise<CensusResult> {
  const skips = new SkipLog();
  const census = new Census(o.countTokens ?? null);
  let used = 0;
  for await (const { id, hash, bytes, captions, group } of source.samples(skips.add)) {
    o.signal?.throwIfAborted();
    const view = await viewOf(bytes, hash, 0, o.view);
    if ("kind" in view) skips.add({ ...view, id });
    else {
      const picture = o.isThorough
        ? await decodeView(bytes, view, "white").catch((error: KoalaError) => error)
        : null;
      if (picture instanceof KoalaError) skips.add({ kind: "broken", id, reason: picture.message });
      else {
        used++;
        census.add({ ...view, captions, group });
      }
    }
    o.onProgress?.(used + skips.total, source.count);
  }
  checkUsable(source.name, used, skips);
  return census.result(skips);
}
