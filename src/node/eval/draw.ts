/** Draws a picture a caption, each from a seed of its own, and keeps those that are there. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Picture } from "../../image/pixels.ts";
import type { PipelineEvent } from "../../pipeline/events.ts";
import type { Request, RequestInput } from "../../pipeline/request.ts";
import { pictureText } from "../../pipeline/request-text.ts";
import { makeFolder, writeAtomically } from "../files.ts";
import { encodePicture, readPicture } from "../image-file.ts";

/** One caption to draw. */
export interface Task {
  /** Number of the caption in its data set. */
  readonly number: number;
  readonly prompt: string;
  readonly seed: number;
}

/** The caption's seed: the evaluation's and its number, so that it does not depend on which others are drawn. */
export const seedOf = (seed: number, number: number): number => (seed + number) % 2 ** 32;

export const fileOf = (folder: string, { number }: Pick<Task, "number">): string =>
  join(folder, `${String(number).padStart(6, "0")}.png`);

export interface DrawOptions {
  /** Steps, guidance and so on, where they are not the model's own. */
  readonly request: Readonly<Record<string, unknown>>;
  readonly maker: { readonly model: string; readonly version: string };
  readonly signal: AbortSignal;
  /** `done` of `all` steps over all pictures. */
  onStep(done: number, all: number): void;
  onWarning(message: string): void;
}

interface Drawer {
  resolve(request: RequestInput): Request;
  generate(request: RequestInput, o?: { signal?: AbortSignal }): AsyncGenerator<PipelineEvent>;
}

/** Draws what is missing in `folder`, and tells how many there were to draw. @throws KoalaError as the pipeline does */
export async function drawMissing(
  drawer: Drawer,
  folder: string,
  tasks: readonly Task[],
  o: DrawOptions,
): Promise<number> {
  await makeFolder(folder, { mayHaveFiles: true });
  const missing = tasks.filter((task) => !existsSync(fileOf(folder, task)));
  for (const [i, task] of missing.entries()) {
    const request = drawer.resolve({ ...o.request, prompt: task.prompt, seed: task.seed });
    for await (const event of drawer.generate(request, { signal: o.signal })) {
      if (event.type === "step") o.onStep(i * event.steps + event.step, missing.length * event.steps);
      if (event.type === "warning") o.onWarning(event.message);
      if (event.type !== "image") continue;
      const bytes = await encodePicture(event.picture, "png", { ...pictureText(event.request, o.maker) });
      await writeAtomically(fileOf(folder, task), bytes);
    }
    o.signal.throwIfAborted();
  }
  return missing.length;
}

/** The drawn pictures in the order of the tasks. @throws KoalaError E_FILE, E_IMAGE */
export async function* drawn(folder: string, tasks: readonly Task[]): AsyncGenerator<Picture> {
  for (const task of tasks) yield await readPicture(fileOf(folder, task));
}
