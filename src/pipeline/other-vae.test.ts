/** Another VAE than the model's own, by folder and by name. */

import { join } from "node:path";
import { expect, it } from "vitest";
import { drawn } from "../../test/drawn.ts";
import { emojiModel } from "../../test/model-folder.ts";
import type { Picture } from "../image/pixels.ts";
import { openFolder } from "../node/files.ts";
import type { Model } from "./model.ts";
import { vaeLocation, withVae } from "./other-vae.ts";
import type { VaePart } from "./parts.ts";
import { Pipeline } from "./pipeline.ts";

async function draw(location: string, otherVae?: string): Promise<Picture> {
  const pipeline = await Pipeline.load(location, {
    engine: "ort",
    ...(otherVae === undefined ? {} : { otherVae }),
  });
  try {
    const [picture] = await drawn(pipeline, { prompt: "a red apple", seed: 1, steps: 1 });
    return picture as Picture;
  } finally {
    await pipeline.dispose();
  }
}

const failure = (location: string, otherVae: string): Promise<string> =>
  draw(location, otherVae).then(
    () => "no error",
    (error: Error) => error.message.replaceAll(emojiModel, "EMOJI"),
  );

it("a VAE's own folder and a pipeline's are read alike", async () => {
  const own = await draw(emojiModel);
  expect((await draw(emojiModel, join(emojiModel, "vae"))).data).toEqual(own.data);
  expect((await draw(emojiModel, emojiModel)).data).toEqual(own.data);
});

it("a VAE for other latents is refused", async () => {
  const model = { vae: { latentChannels: 16, factor: 8 } } as unknown as Model;
  const refused = withVae(model, await openFolder(join(emojiModel, "vae"))).catch(
    (error: Error) => error.message,
  );
  expect(((await refused) as string).replaceAll(emojiModel, "EMOJI")).toMatch(
    /^EMOJI\/vae: expected a VAE for this model's latents: 16 channels, 8 px a cell, got 4 channels, \d px a cell \[E_CONFIG\]$/,
  );
});

it("tiny is TAESD of the model's kind, where there is one", async () => {
  const part = (scalingFactor: number): VaePart => ({ scalingFactor }) as VaePart;
  expect(vaeLocation("tiny", part(0.13025), "model")).toBe("madebyollin/taesdxl");
  expect(vaeLocation("tiny", part(0.18215), "model")).toBe("madebyollin/taesd");
  expect(await failure(emojiModel, "tiny")).toMatch(
    /^EMOJI: expected latents that a tiny VAE is known for: those of Stable Diffusion 1, 2 or XL, got a VAE with scaling factor [\d.]+ \[E_MODEL\]\nName the folder or hub id of one that was made for this model: --vae DIR$/,
  );
});
