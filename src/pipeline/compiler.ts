/** Networks into programs, on the engine and in the precision of a pipeline, with what its user is to hear of that. */

import { type CompileOptions, compile } from "../engine/compile.ts";
import { guarded } from "../engine/guarded.ts";
import { firstNonFinite } from "../engine/non-finite.ts";
import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import type { Engine } from "../runtime/session.ts";
import type { TensorStore } from "../tensor/stored.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LoadOptions } from "./options.ts";
import { computedIn } from "./precision.ts";
import type { PrecisionName } from "./request.ts";
import type { Stage } from "./stage.ts";

type Outputs = Readonly<Record<string, Value>>;

export class Compiler {
  /** Of the request at hand. */
  precision: PrecisionName = "f32";
  readonly engine: Engine;
  readonly #o: Pick<LoadOptions, "threads" | "cache">;
  /** Networks that overflowed in bf16: they are computed in f32 from then on. */
  readonly #overflowed = new Set<string>();
  /** Warnings that nobody has heard yet. */
  readonly #untold: string[] = [];
  /** What the engine has warned of. */
  readonly #said = new Set<string>();

  constructor(engine: Engine, o: Pick<LoadOptions, "threads" | "cache">) {
    this.engine = engine;
    this.#o = o;
  }

  /** Warnings since the last call, each once. */
  takeWarnings(): string[] {
    return this.#untold.splice(0);
  }

  /** At the begin of a request: what it will not have in its precision, as it was seen before. */
  warnOfOverflow(): void {
    for (const name of this.precision === "bf16" ? this.#overflowed : [])
      this.#untold.push(`${name} has given NaN or infinity in bf16 before: it is computed in f32`);
  }

  options(store: TensorStore): CompileOptions {
    const { threads, cache } = this.#o;
    return {
      engine: this.engine,
      store,
      isUnplanned: true, // what ONNX Runtime plans after a first run it takes besides what that run took
      ...(threads === undefined ? {} : { threads }),
      ...(cache === undefined ? {} : { cache }),
      warn: (message) => {
        if (!this.#said.has(message)) this.#untold.push(message);
        this.#said.add(message);
      },
    };
  }

  /** A network in the precision that was asked for, watched for overflow; what it is called is for the warning. */
  guard(name: string, store: TensorStore, make: (o: CompileOptions) => Promise<Program>): Promise<Program> {
    return guarded({
      precision: this.#overflowed.has(name) ? "f32" : computedIn(this.precision),
      compileIn: (precision) => make({ ...this.options(store), precision }),
      onFallback: () => {
        this.#overflowed.add(name);
        this.#untold.push(
          `${name} gave NaN or infinity in ${this.precision}: it is computed in f32 from here on`,
        );
      },
    });
  }

  compile(name: string, outputs: Outputs, store: TensorStore): Promise<Program> {
    return this.guard(name, store, (o) => compile(outputs, o));
  }

  /** The checkpoint name of the first layer of a stage whose result is not finite on these feeds. */
  async blame(
    stage: Stage,
    outputs: Outputs,
    feeds: Readonly<Record<string, Tensor>>,
    store: TensorStore,
  ): Promise<string> {
    await stage.free();
    return (await firstNonFinite(outputs, feeds, this.options(store))) ?? "the last layer";
  }
}
