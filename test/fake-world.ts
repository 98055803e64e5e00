/** The command line's world without a model: a generator that draws flat pictures, streams that remember. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterEach, beforeEach } from "vitest";
import { main } from "../src/node/cli/main.ts";
import type { Generator, GeneratorOptions, World } from "../src/node/cli/world.ts";
import type { PipelineEvent } from "../src/pipeline/events.ts";
import type { MemoryPlan } from "../src/pipeline/memory.ts";
import type { GenerateOptions } from "../src/pipeline/pipeline.ts";
import { type RequestInput, resolveRequest, type Size } from "../src/pipeline/request.ts";
import { type Start, sizeLike, withStart } from "../src/pipeline/start.ts";
import { float32 } from "../src/tensor/tensor.ts";
import { single } from "../src/train/parallel.ts";

export const defaults = {
  steps: 4,
  guidance: 3.5,
  width: 16,
  height: 8,
  scheduler: "euler",
  spacing: "trailing",
};

/** Draws a picture whose every byte is the seed, and whatever else `during` makes it do. */
export class FakeGenerator implements Generator {
  readonly location = "/models/koala-emoji";
  readonly family = "koala-small";
  readonly defaults = defaults;
  readonly engineName = "fake";
  isDisposed = false;
  private readonly during: (signal: AbortSignal | undefined) => void;

  constructor(during: (signal: AbortSignal | undefined) => void = () => {}) {
    this.during = during;
  }

  /** What was started from, last. */
  start: Start = {};

  resolve(input: RequestInput, start: Start = {}): ReturnType<typeof resolveRequest> {
    return withStart(resolveRequest(input, defaults), start, 0);
  }

  sizeLike(picture: Size, said: Pick<RequestInput, "width" | "height"> = {}): Size {
    return sizeLike(picture, said, { pixels: defaults.width * defaults.height, unit: 8 });
  }

  plan(): MemoryPlan {
    const stages = [{ name: "unet", bytes: 2e8 }];
    return { stages, peak: 2e8, isTogether: true, stripes: null, encoderStripes: null, isInTurns: false };
  }

  async *generate(input: RequestInput, o: GenerateOptions = {}): AsyncGenerator<PipelineEvent> {
    const request = this.resolve(input, o);
    this.start = { image: o.image, mask: o.mask };
    const { count, seed, width, height, steps, preview } = request;
    const picture = (byte: number, w: number, h: number) => ({
      width: w,
      height: h,
      data: new Uint8Array(3 * w * h).fill(byte),
    });
    yield { type: "stage", stage: "text", detail: "2 text encoders" };
    yield { type: "warning", message: "the text encoder reads 77 tokens; this was cut off: tail" };
    for (let index = 0; index < count; index++) {
      yield { type: "stage", stage: "denoise", detail: `picture ${index + 1} of ${count}` };
      for (let step = 1; step <= steps; step++) {
        yield { type: "step", index, step, steps, timestep: 999, sigma: 1, seconds: 0.01 };
        if (preview) yield { type: "preview", index, step, picture: picture(9, 2, 1) };
        this.during(o.signal);
        o.signal?.throwIfAborted();
      }
      yield { type: "stage", stage: "decode", detail: "VAE" };
      const latents = float32([1], [0]);
      yield {
        type: "image",
        index,
        seed: seed + index,
        request: { ...request, seed: seed + index, count: 1 },
        picture: picture((seed + index) % 256, width, height),
        latents,
      };
    }
  }

  async dispose(): Promise<void> {
    this.isDisposed = true;
  }
}

class Page extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 80;

  constructor(isTTY = false) {
    super();
    this.isTTY = isTTY;
  }

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly loaded: [string, GeneratorOptions][];
}

export interface Scene {
  readonly generator?: Generator;
  readonly world?: Partial<World>;
  readonly isTTY?: boolean;
}

/** One command line in a world without models, network or terminal, unless the scene brings them. */
export async function run(
  argv: string[],
  { generator = new FakeGenerator(), world = {}, isTTY = false }: Scene = {},
): Promise<Ran> {
  const [stdout, stderr] = [new Page(), new Page(isTTY)];
  const loaded: [string, GeneratorOptions][] = [];
  const code = await main(argv, {
    stdout,
    stderr,
    onInterrupt: () => () => {},
    join: async () => single,
    async load(location, o) {
      loaded.push([location, o]);
      return generator;
    },
    openModel: () => Promise.reject(new Error("no model here")),
    engines: async () => [],
    ...world,
  });
  return { code, out: stdout.text, err: stderr.text, loaded };
}

/** Runs every test of a file in an empty current folder of its own: where pictures without --output go. */
export function inEmptyFolders(): void {
  const home = process.cwd();
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "koala-cli-"));
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(home);
    rmSync(folder, { recursive: true });
  });
}
