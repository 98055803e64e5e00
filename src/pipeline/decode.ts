/** Latents to pixels, whole or in stripes. */

import { KoalaError } from "../core/errors.ts";
import { isFiniteTensor } from "../engine/non-finite.ts";
import type { Program } from "../engine/program.ts";
import type { Value } from "../graph/op.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { decodeInStripes } from "./decode-stripes.ts";
import type { VaePart } from "./parts.ts";
import type { Stage } from "./stage.ts";

type Outputs = Readonly<Record<string, Value>>;

export interface DecodeOptions {
  /** Keeps the program of the whole decoder. */
  readonly stage: Stage;
  /** null: whole. */
  readonly stripes: number | null;
  readonly signal?: AbortSignal;
  compile(outputs: Outputs): Promise<Program>;
  /** Names the first place where the numbers stop being finite. */
  blame(outputs: Outputs, feeds: Readonly<Record<string, Tensor>>): Promise<string>;
}

/**
 * `latents` [1, L, h, w] as the denoiser sees them → pixels [1, 3, H, W] in −1 to 1.
 * @throws KoalaError E_NAN, E_ENGINE
 */
export async function decodeLatents(vae: VaePart, latents: Tensor, o: DecodeOptions): Promise<Tensor> {
  const [batch = 1, , height = 1, width = 1] = latents.shape;
  const unscaled = toFloat32(latents).map((v) => v / vae.scalingFactor + vae.shiftFactor);
  const feeds = { latents: float32(latents.shape, unscaled) };
  const { outputs } = vae.decoder({ batch, height, width });
  const whole = async (): Promise<Tensor> => {
    const program = await o.stage.use(`${height},${width}`, () => o.compile(outputs));
    return (await program.run(feeds)).picture as Tensor;
  };
  const { kl } = vae;
  const { stripes } = o;
  const pixels =
    kl === null || stripes === null
      ? await whole()
      : await decodeInStripes(feeds.latents, {
          ...{ config: kl, stripes },
          ...(o.signal === undefined ? {} : { signal: o.signal }),
          compile: (_, built) => o.compile(built.outputs),
        });
  if (!isFiniteTensor(pixels))
    throw new KoalaError("E_NAN", {
      where: `vae: ${await o.blame(outputs, feeds)}`,
      expected: "finite numbers",
      got: "NaN or infinity",
      hint: "The weights may be damaged, or stored in float16 where they need float32 (SDXL's own VAE is known for it).",
    });
  return pixels;
}
