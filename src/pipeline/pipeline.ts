/** Prompt to picture: text, denoise, decode, each a stage whose program is loaded when needed. */

import { check } from "../core/assert.ts";
import { silent } from "../core/log.ts";
import { schedulerFromConfig } from "../diffusion/scheduler.ts";
import { chain } from "../engine/chain.ts";
import { checkPrecision } from "../engine/compile.ts";
import type { Program } from "../engine/program.ts";
import { compileStepwise } from "../engine/stepwise.ts";
import { tapsOf } from "../graph/order.ts";
import { type Picture, toPictures } from "../image/pixels.ts";
import { defaultsFor, type ModelDefaults } from "../models/detect.ts";
import { host } from "../runtime/host.ts";
import type { Engine } from "../runtime/session.ts";
import type { Shape } from "../tensor/shape.ts";
import { float32, type Tensor } from "../tensor/tensor.ts";
import { Compiler } from "./compiler.ts";
import { entries } from "./conditions.ts";
import { decodeLatents } from "./decode.ts";
import { denoise } from "./denoise.ts";
import { drawnPart } from "./drawn-part.ts";
import { encodePrompts } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import { idleWarnings, usedRequest } from "./idle.ts";
import { withLoras } from "./loras.ts";
import { type MemoryPlan, outOfMemory } from "./memory.ts";
import { denoiserGraph, type Model, openDrawable, schedulerFor } from "./model.ts";
import type { TextEncoder } from "./networks.ts";
import type { GenerateOptions, LoadOptions } from "./options.ts";
import { vaeLocation, withVae } from "./other-vae.ts";
import { explainBase, float32Bytes, storesOf, usualResidentBytes } from "./parts-of.ts";
import { type PictureRun, pictures } from "./pictures.ts";
import { type Budget, planRequest, stepInputs } from "./plan-request.ts";
import { checkOffered, computedIn, inPrecision, precisionsOf, usualPrecision } from "./precision.ts";
import { Previews } from "./previews.ts";
import { checkReadable, positionsOf, textTokens } from "./reading.ts";
import {
  type PrecisionName,
  pixelStep,
  type Request,
  type RequestInput,
  resolveRequest,
  type Size,
} from "./request.ts";
import { Stage } from "./stage.ts";
import { type StageTimesOptions, stageTimes } from "./stage-times.ts";
import {
  fromNoise,
  fromPicture,
  type Start,
  type Starter,
  sizeLike,
  startedPlan,
  withStart,
} from "./start.ts";
import { Turns } from "./turns.ts";
import type { VaeRun } from "./vae-half.ts";

export type { GenerateOptions, LoadOptions };

/** A loaded model. Hold one a model; `dispose` frees it. Calls of `generate` run one after another. */
export class Pipeline {
  readonly location: string;
  /** What kind of model it is: decides the defaults. */
  readonly family: string;
  readonly defaults: ModelDefaults;
  readonly engineName: string;
  /** Why `auto` took this engine; absent where it was named. */
  readonly engineReason: string | undefined;
  /** What a request may name here, the usual one first. */
  readonly precisions: readonly PrecisionName[];
  /** As they are stored. */
  private readonly stored: Model;
  /** As the request at hand has them. */
  private parts: Model;
  private readonly compiler: Compiler;
  private counted: { readonly key: string; readonly plan: MemoryPlan } | null = null;
  /** In which a request is drawn that names none. */
  readonly usualPrecision: PrecisionName;
  private readonly isCached: boolean;
  private readonly budget: Budget;
  private readonly isSmall: boolean;
  /** Whether programs stay loaded between calls: those of a small model do, where the request at hand leaves room. */
  private isResident: boolean;
  private readonly residentBytes: number;
  private readonly textStages: readonly Stage[];
  private readonly denoiserStage = new Stage();
  private readonly encoderStage = new Stage();
  private readonly vaeStage = new Stage();
  private readonly previews: Previews;
  /** Stages hold one program each, so two runs must not mix. */
  private readonly turns = new Turns();

  private constructor(
    location: string,
    parts: Model,
    defaults: ModelDefaults,
    engine: Engine,
    o: LoadOptions,
  ) {
    this.location = location;
    this.stored = parts;
    this.parts = parts;
    this.defaults = defaults;
    this.family = defaults.family;
    this.compiler = new Compiler(engine, o);
    this.engineName = engine.name;
    this.engineReason = engine.reason;
    this.usualPrecision = o.precision ?? usualPrecision(parts, engine);
    this.precisions = precisionsOf(parts, engine, this.usualPrecision);
    this.isCached = o.cache !== undefined;
    this.textStages = parts.texts.map(() => new Stage());
    this.residentBytes = o.residentBytes ?? usualResidentBytes;
    this.budget = o;
    this.previews = new Previews(parts);
    this.isSmall = storesOf(parts).reduce((sum, store) => sum + float32Bytes(store), 0) < this.residentBytes;
    this.isResident = this.isSmall;
  }

  /**
   * Opens a diffusers folder, a single checkpoint file or a hub id; weights are read when a stage needs them.
   * @throws KoalaError E_MODEL, E_CONFIG, E_WEIGHTS, E_TOKENIZER, E_SAFETENSORS, E_FILE, E_HUB, E_ENGINE
   */
  static async load(location: string, o: LoadOptions = {}): Promise<Pipeline> {
    const log = o.log ?? silent;
    const open = (place: string, weightsOf?: readonly string[]) =>
      host.openModel(place, {
        ...(weightsOf === undefined ? {} : { weightsOf }),
        ...(o.isOffline === undefined ? {} : { isOffline: o.isOffline }),
        ...(o.signal === undefined ? {} : { signal: o.signal }),
        ...(o.onProgress === undefined ? {} : { onProgress: o.onProgress }),
      });
    const named = o.engine === undefined || o.engine === "auto" ? null : await host.engine(o.engine);
    const files = await open(location);
    const loras = o.loras ?? [];
    const warn = (message: string): void => log.warn(message);
    const own = await openDrawable(files, {
      openBase: (usual, weightsOf) =>
        o.base === undefined ? open(usual, weightsOf).catch(explainBase(location)) : open(o.base, weightsOf),
      warn,
      ...(loras.length === 0 ? {} : { adapt: (networks) => withLoras(networks, loras, { open, warn }) }),
    });
    const parts =
      o.otherVae === undefined
        ? own
        : await withVae(own, await open(vaeLocation(o.otherVae, own.vae, location)));
    const defaults = defaultsFor({
      location, // with the file's name, where it is one: Lightning's says how many steps it takes
      modelIndex: parts.index,
      [parts.denoiser.name]: parts.denoiser.json,
      scheduler: parts.scheduler,
      factor: parts.vae.factor,
    });
    const precision = computedIn(o.precision ?? "f32");
    const engine =
      named ??
      (await host.engine("auto", {
        ...{ precision, stores: storesOf(parts) },
        ...(o.memory === undefined ? {} : { memory: o.memory }),
      }));
    checkPrecision(engine, precision);
    return new Pipeline(files.location, parts, defaults, engine, o);
  }

  /**
   * The request as it will run: every field filled from the model, checked against it and against what it starts from.
   * @throws KoalaError E_REQUEST, E_CONFIG
   */
  resolve(input: RequestInput, start: Start = {}): Request {
    // a class that koala has not: unless the request names another, the model's own cannot be its default
    if (input.scheduler === undefined) schedulerFromConfig(this.parts.scheduler, this.parts.schedulerPath);
    const own = this.usualPrecision === "f32" ? {} : { precision: this.usualPrecision };
    const request = withStart(
      { ...own, ...resolveRequest(input, this.defaults) },
      start,
      this.parts.denoiser.besideChannels,
    );
    checkOffered(request, this.precisions, this.engineName);
    checkReadable(request, this.parts.texts);
    startedPlan(schedulerFor(this.parts, request, this.defaults), request);
    const { patch } = this.parts.denoiser;
    const { unit } = this;
    for (const side of ["width", "height"] as const)
      check(request[side] % unit === 0, "E_REQUEST", () => ({
        where: side,
        expected: `a multiple of ${unit} px, the size of this model's ${patch === 1 ? "latent cell" : "patch"}`,
        got: `${request[side]}`,
      }));
    return request;
  }

  /** Whether it is SDXL or a relative: two text encoders are joined, and sizes are told. */
  get isXL(): boolean {
    return this.stored.isXL;
  }

  /** Whether it draws nothing but what a mask leaves to it of a picture. */
  get isInpainting(): boolean {
    return this.parts.denoiser.besideChannels > 0;
  }

  /** Pixels that the sides of a picture are multiples of: of the model's cells or patches, and of a request's own step. */
  get unit(): number {
    const cell = this.parts.denoiser.patch * this.parts.vae.factor;
    let unit = cell;
    while (unit % pixelStep !== 0) unit += cell;
    return unit;
  }

  /** The size of a picture that starts from `picture`: what is said of it, else its shape, at the model's number of pixels. */
  sizeLike(picture: Size, said: Pick<RequestInput, "width" | "height"> = {}): Size {
    return sizeLike(picture, said, {
      pixels: this.defaults.width * this.defaults.height,
      unit: this.unit,
    });
  }

  /**
   * What a request will hold in memory, and how it is kept within the budget.
   * @throws KoalaError E_MEMORY with the least that would do, E_FLAG
   */
  plan(request: Request, budget: Budget = this.budget): MemoryPlan {
    const key = JSON.stringify([request, budget.memory, budget.freeBytes, budget.vae]);
    if (this.counted?.key === key) return this.counted.plan; // who asks before drawing has it counted once
    const { precision = "f32" } = request;
    const parts = precision === this.compiler.precision ? this.parts : inPrecision(this.stored, precision);
    const plan = planRequest(parts, request, budget, {
      mayStay: this.isSmall,
      target: this.compiler.engine.target,
      isKept: this.isCached,
      isInPieces: (part) => this.isInPieces(part),
    });
    this.counted = { key, plan };
    return plan;
  }

  /**
   * Runs a request; ends after its last image. Aborting throws the signal's reason within one step, or the loading of a network,
   * and at once where the call still waits for its turn.
   *
   * Of a model whose programs do not stay loaded, all pictures are denoised before the first is decoded. Those that are denoised when
   * the run is aborted or fails are still decoded before it throws, and that takes its time: seconds each, minutes for large ones in
   * stripes. With `dropsFinished` an abort does not wait for them, and who leaves the loop waits for one at most. An abort that comes
   * with the last step of the last picture, or after it, ends nothing any more and throws nothing.
   * @throws KoalaError E_REQUEST, E_NAN, E_ENGINE, E_MEMORY
   */
  async *generate(input: RequestInput, o: GenerateOptions = {}): AsyncGenerator<PipelineEvent> {
    const request = this.resolve(input, o);
    yield* this.turns.through(() => this.planned(request, o), o.signal);
  }

  private async *planned(request: Request, o: GenerateOptions): AsyncGenerator<PipelineEvent> {
    try {
      await this.turnTo(request.precision ?? "f32");
      this.compiler.warnOfOverflow();
      const plan = this.plan(request);
      if (this.isResident && !plan.isTogether) await this.freeStages(); // what stayed is not in the new plan
      this.isResident = plan.isTogether;
      yield* this.run(request, plan, o);
    } catch (error) {
      throw outOfMemory(error, () => this.plan(request, { freeBytes: 0 }));
    } finally {
      if (!this.isResident) await this.freeStages();
    }
  }

  /**
   * Values inside the denoiser that `generate` can show, in the order in which they are computed, with their shapes: for a request,
   * or at a size in pixels for a prompt that is not long.
   */
  taps(size: Size | Request = this.defaults): ReadonlyMap<string, Shape> {
    const { denoiser, texts, vae } = this.parts;
    const tokens = "prompt" in size ? textTokens(size, this.parts) : (texts[0]?.tokenizer.maxLength ?? 1);
    const [height, width] = [size.height / vae.factor, size.width / vae.factor];
    const outputs = denoiser.graph({ batch: 1, height, width, tokens });
    return new Map([...tapsOf(Object.values(outputs))].map(([name, { shape }]) => [name, shape]));
  }

  /**
   * Seconds that each stage of the denoiser takes in one forward at the model's own size, measured here and now.
   * @throws KoalaError E_ENGINE, the signal's reason
   */
  async stageTimes(o: StageTimesOptions = {}): Promise<Record<string, number>> {
    const end = await this.turns.take(o.signal);
    try {
      await this.freeStages();
      await this.turnTo(this.usualPrecision);
      const { name, store } = this.parts.denoiser;
      return await stageTimes(
        this.parts,
        this.defaults,
        (outputs) => this.compiler.compile(name, outputs, store),
        o,
      );
    } finally {
      end();
    }
  }

  /** Attention heads of the block `down_blocks.1`, `mid_block`, `transformer_blocks.3`, … of the denoiser; 0 where there is no such block. */
  headsOf(block: string): number {
    return this.parts.denoiser.headsOf(block);
  }

  /** Positions that `word` has in what the denoiser attends to for `prompt`; none where it is not in it. */
  positionsOf(prompt: string, word: string): number[] {
    const encoder = this.parts.texts[0];
    return encoder === undefined ? [] : positionsOf(encoder, prompt, word);
  }

  /**
   * Frees every program. What draws ends after its present step, and what waits to draw does not begin: both throw E_REQUEST, but
   * a loop over `generate` that disposes the pipeline itself just ends. The pipeline can be used again; it then loads anew.
   */
  async dispose(): Promise<void> {
    const end = await this.turns.stop();
    try {
      await this.freeStages();
    } finally {
      end();
    }
  }

  private async freeStages(): Promise<void> {
    for (const stage of [...this.textStages, this.encoderStage, this.denoiserStage, this.vaeStage])
      await stage.free();
  }

  private async *run(request: Request, plan: MemoryPlan, o: GenerateOptions): AsyncGenerator<PipelineEvent> {
    const { signal, dropsFinished } = o;
    signal?.throwIfAborted();
    yield {
      type: "stage",
      stage: "text",
      detail: `${this.parts.texts.length} text encoder${this.parts.texts.length === 1 ? "" : "s"}`,
    };
    for (const message of idleWarnings(request, this.parts, this.defaults))
      yield { type: "warning", message };
    const warnings: string[] = [];
    const encoded = await encodePrompts(request, this.parts, {
      ...{ stages: this.textStages, staysLoaded: this.isResident },
      ...(signal === undefined ? {} : { signal }),
      compile: (part, batch) => this.compileText(part, batch, signal),
      warn: (message) => warnings.push(message),
      blame: (...at) => this.compiler.blame(...at),
    });
    const conditions = plan.isInTurns ? entries(encoded, 2) : [encoded];
    for (const message of new Set(warnings)) yield { type: "warning", message };
    yield* this.tellWarnings();

    const part = drawnPart(request, o);
    const starter = yield* this.starter(request, plan.encoderStripes, { ...part.start, signal });
    yield* this.tellWarnings();

    const decode = async (latents: Tensor, stop: AbortSignal | undefined): Promise<Tensor> => {
      const began = performance.now();
      const how = this.vaeRun(this.vaeStage, plan.stripes, stop);
      const pixels = await decodeLatents(this.parts.vae, latents, how);
      if (request.preview) this.previews.learn(latents, pixels, (performance.now() - began) / 1000);
      return pixels;
    };
    const used = { ...usedRequest(request, this.parts, this.defaults), count: 1 };
    const tellWarnings = () => this.tellWarnings();
    yield* pictures({
      ...{ count: request.count, isTogether: this.isResident },
      ...(signal === undefined ? {} : { signal }),
      ...(dropsFinished === undefined ? {} : { dropsFinished }),
      denoise: (index) =>
        this.denoise({ request, index, conditions, starter }, (its) => decode(its, signal), o),
      freeDenoiser: () => this.denoiserStage.free(),
      decode: async function* (index, latents, stop) {
        const picture = part.restore(toPictures(await decode(latents, stop))[0] as Picture);
        yield* tellWarnings();
        const seed = request.seed + index;
        yield { type: "image", index, seed, request: { ...used, seed }, picture, latents };
      },
    });
  }

  /** How the pictures of a request start. */
  private async *starter(
    request: Request,
    stripes: number | null,
    { image, mask, signal }: Start & { readonly signal: AbortSignal | undefined },
  ): AsyncGenerator<PipelineEvent, Starter> {
    if (image === undefined) return fromNoise;
    const stage = this.encoderStage;
    yield { type: "stage", stage: "encode", detail: "VAE" };
    signal?.throwIfAborted();
    const how = this.vaeRun(stage, stripes, signal);
    const starter = await fromPicture(this.parts, request, { image, mask }, how);
    if (!this.isResident) await stage.free();
    return starter;
  }

  /** The steps of one picture, and its latents. */
  private async *denoise(
    { request, index, conditions, starter }: PictureRun,
    decode: (latents: Tensor) => Promise<Tensor>,
    { signal, taps = [], watch, hear }: GenerateOptions,
  ): AsyncGenerator<PipelineEvent, Tensor> {
    const { title, store } = this.parts.denoiser;
    const { factor, latentChannels } = this.parts.vae;
    const latentShape = [1, latentChannels, request.height / factor, request.width / factor];
    const scheduler = schedulerFor(this.parts, request, this.defaults);
    const steps = startedPlan(scheduler, request).steps.length;
    signal?.throwIfAborted();
    yield { type: "stage", stage: "load", detail: title };
    const program = await this.denoiserProgram(request, conditions, taps);
    signal?.throwIfAborted();
    yield { type: "stage", stage: "denoise", detail: `picture ${index + 1} of ${request.count}` };
    const denoising = denoise({
      ...{ request, denoiser: this.parts.denoiser, program, scheduler, starter },
      ...{ seed: request.seed + index, latentShape, conditions },
      ...(watch === undefined ? {} : { watch }),
      ...(hear === undefined ? {} : { hear }),
      blame: (feeds) =>
        this.compiler.blame(this.denoiserStage, denoiserGraph(this.parts, request, feeds), feeds, store),
    });
    let latents: Float32Array = new Float32Array(0);
    let last = performance.now();
    for await (const step of denoising) {
      const isLast = step.step === steps; // then its picture is not lost by an abort
      if (!isLast) signal?.throwIfAborted();
      latents = step.x;
      const now = performance.now();
      yield* this.tellWarnings();
      const { timestep, sigma } = step;
      yield { type: "step", index, step: step.step, steps, timestep, sigma, seconds: (now - last) / 1000 };
      if (!isLast) signal?.throwIfAborted(); // a caller may have stopped at the step just told
      if (request.preview && !isLast) {
        const guess = float32(latentShape, step.denoised);
        const picture = await this.previews.of(guess, (now - last) / 1000, decode);
        if (picture !== null) yield { type: "preview", index, step: step.step, picture };
      }
      last = performance.now();
    }
    return float32(latentShape, latents);
  }

  /** Programs of one precision make room for those of another. */
  private async turnTo(precision: PrecisionName): Promise<void> {
    if (precision === this.compiler.precision) return;
    await this.freeStages();
    this.parts = inPrecision(this.stored, precision);
    this.compiler.precision = precision;
  }

  private *tellWarnings(): Generator<PipelineEvent> {
    for (const message of this.compiler.takeWarnings()) yield { type: "warning", message };
  }

  private isInPieces(part: TextEncoder): boolean {
    return float32Bytes(part.store) >= this.residentBytes;
  }

  /**
   * An encoder too large to be kept in memory runs in pieces, where it has them. Its program is freed with its request, whose signal
   * it may so hear.
   */
  private compileText(part: TextEncoder, batch: number, signal?: AbortSignal): Promise<Program> {
    const pieces = this.isInPieces(part) ? part.pieces(batch) : null;
    if (pieces === null) return this.compiler.compile(part.name, part.graph(batch), part.store);
    const own = { carry: { output: "last", input: "states" }, ...(signal === undefined ? {} : { signal }) };
    return this.compiler.guard(part.name, part.store, async (o) => chain(pieces, { ...o, ...own }));
  }

  private denoiserProgram(
    request: Request,
    conditions: readonly Readonly<Record<string, Tensor>>[],
    taps: readonly string[],
  ): Promise<Program> {
    const first = conditions[0] ?? {};
    const [batch, tokens] = first.text?.shape ?? [];
    const key = [batch, tokens, request.width, request.height, ...taps].join();
    const { name, store } = this.parts.denoiser;
    return this.denoiserStage.use(key, () =>
      this.compiler.guard(name, store, (o) =>
        compileStepwise(denoiserGraph(this.parts, request, first), {
          ...o,
          taps,
          changing: stepInputs, // prompt, sizes and guidance stay: what rests on them runs once
          steady: conditions,
        }),
      ),
    );
  }

  private vaeRun(stage: Stage, stripes: number | null, signal?: AbortSignal): VaeRun {
    const { store } = this.parts.vae;
    return {
      ...{ stage, stripes },
      ...(signal === undefined ? {} : { signal }),
      compile: (outputs) => this.compiler.compile("vae", outputs, store),
      blame: (outputs, feeds) => this.compiler.blame(stage, outputs, feeds, store),
    };
  }
}
