/** One half of a VAE, encoder or decoder, run whole or in stripes. */

import { KoalaError } from "../core/errors.ts";
import { isFiniteTensor } from "../engine/non-finite.ts";
import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { VaePart } from "./parts.ts";
import type { Stage } from "./stage.ts";
import type { StripeOptions } from "./stripes.ts";

type Outputs = Readonly<Record<string, Value>>;

/** How it is run. */
export interface VaeRun {
  /** Keeps the program of the whole. */
  readonly stage: Stage;
  /** null: whole. */
  readonly stripes: number | null;
  readonly signal?: AbortSignal;
  compile(outputs: Outputs): Promise<Program>;
  /** Names the first place where the numbers stop being finite. */
  blame(outputs: Outputs, feeds: Readonly<Record<string, Tensor>>): Promise<string>;
}

/** What is run. */
export interface VaeHalf {
  readonly outputs: Outputs;
  /** Names of what it reads and gives. */
  readonly reads: string;
  readonly gives: string;
  inStripes(input: Tensor, o: StripeOptions): Promise<Tensor>;
}

/** @throws KoalaError E_WEIGHTS for a half that is not there, E_NAN, E_ENGINE */
export async function runHalf({ kl }: VaePart, half: VaeHalf, input: Tensor, o: VaeRun): Promise<Tensor> {
  const { outputs, reads, gives } = half;
  const { stripes, signal } = o;
  const feeds = { [reads]: input };
  const whole = async (): Promise<Tensor> => {
    const program = await o.stage.use(`${input.shape.slice(2)}`, () => o.compile(outputs));
    return (await program.run(feeds))[gives] as Tensor;
  };
  const result =
    kl === null || stripes === null
      ? await whole()
      : await half.inStripes(input, {
          ...{ config: kl, stripes },
          ...(signal === undefined ? {} : { signal }),
          compile: (_, built) => o.compile(built.outputs),
        });
  if (!isFiniteTensor(result))
    throw new KoalaError("E_NAN", {
      where: `vae: ${await o.blame(outputs, feeds)}`,
      expected: "finite numbers",
      got: "NaN or infinity",
      hint: "The weights may be damaged, or stored in float16 where they need float32 (SDXL's own VAE is known for it).",
    });
  return result;
}
