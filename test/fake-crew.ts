/** A crew and a model without an engine: pictures are drawn at once, or when the test lets them. */

import type { NsfwVerdict } from "../src/node/nsfw/policy.ts";
import { type Crew, type DrawEvent, EngineLost, type Task } from "../src/node/server/crew.ts";
import { Models, type ServedModel } from "../src/node/server/models.ts";
import { resolveRequest } from "../src/pipeline/request.ts";
import { sizeLike, withStart } from "../src/pipeline/start.ts";
import { presetStructure } from "../src/pipeline/structure.ts";
import { defaults } from "./fake-world.ts";

export const fakeModel = (name: string): ServedModel => ({
  name,
  family: "koala-small",
  engine: "fake",
  defaults,
  isXL: false,
  precisions: ["f32", "int4"],
  unit: 8,
  isInpainting: false,
  resolve: (input, start = {}) => withStart(resolveRequest(input, defaults), start, 0),
  sizeLike: (picture, said) => sizeLike(picture, said, { pixels: defaults.width * defaults.height, unit: 8 }),
  facts: async () => ({ model: name, parameters: 1 }),
  structure: async () => presetStructure("koala-700m"),
});

export const fakeModels = (): Models =>
  new Models(["koala-emoji", "other/model"].map(fakeModel), { steps: 150, side: 2048, count: 16 });

/** Smallest thing that a client takes for a PNG. */
export const fakePng = (seed: number): Uint8Array => new Uint8Array([137, 80, 78, 71, seed % 256]);

/** Of a check that finds everything explicit. */
export const fakeVerdict = (policy: NsfwVerdict["policy"]): NsfwVerdict => ({
  ...{ by: "a test", isExplicit: true, policy },
  scores: { drawing: 0, hentai: 0.5, neutral: 0, porn: 0.5, sexy: 0 },
});

/** Draws one task at a time. `before` holds each one up, or makes it fail; `after` does so with what follows a picture. */
export class FakeCrew implements Crew {
  readonly size = 1;
  readonly drawn: string[] = [];
  before: (task: Task) => Promise<void> = async () => {};
  after: (index: number) => Promise<void> = async () => {};
  private isBusy = false;
  private listener = (): void => {};

  get free(): number {
    return this.isBusy ? 0 : 1;
  }

  onFree(listener: () => void): void {
    this.listener = listener;
  }

  async draw(task: Task, tell: (event: DrawEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
    this.isBusy = true;
    try {
      const aborted = new Promise<never>((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      await tell({ type: "stage", stage: "denoise", detail: "picture 1" });
      await tell({ type: "step", index: 0, step: 1, steps: task.request.steps, seconds: 0.01 });
      await tell({ type: "preview", index: 0, step: 1, png: fakePng(0) });
      await Promise.race([this.before(task), aborted]);
      for (let index = 0; index < task.request.count; index++) {
        const seed = task.request.seed + index;
        const nsfw = task.nsfw === undefined || task.nsfw === "off" ? {} : { nsfw: fakeVerdict(task.nsfw) };
        await tell({ type: "picture", index, seed, png: fakePng(seed), residentBytes: 1, ...nsfw });
        await Promise.race([this.after(index), aborted]);
      }
      this.drawn.push(task.request.prompt);
    } finally {
      this.isBusy = false;
      this.listener();
    }
  }

  async close(): Promise<void> {}
}

/** Fails as an engine that died. */
export const dies = async (): Promise<void> => {
  throw new EngineLost("SIGKILL");
};

/** A gate that `before` waits at. */
export function gate(): { wait: () => Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { wait: () => opened, open };
}
