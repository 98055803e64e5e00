/** The counts of whole models. */

import { describe, expect, it } from "vitest";
import { preset, presetFiles } from "../../models/presets.ts";
import { float32 } from "../../tensor/tensor.ts";
import { memoryFiles } from "../../weights/memory-files.ts";
import { serializeSafetensors } from "../../weights/safetensors-writer.ts";
import { measure, modelAnatomy, presetAnatomy, workloadOf } from "./anatomy.ts";

const weights = serializeSafetensors({ "conv_in.weight": float32([1], [0]) });

describe("an anatomy", () => {
  it("of a preset counts what diffusers counts", () => {
    const { organs } = presetAnatomy(preset("sdxl"));
    const counts = organs.map((organ) => [organ.name, measure(organ, workloadOf(organs, 64, 64)).parameters]);
    // sum(p.numel()) of diffusers' and transformers' modules of SDXL
    expect(Object.fromEntries(counts)).toEqual({
      unet: 2_567_463_684,
      vae: 83_653_863,
      text_encoder: 123_060_480,
      text_encoder_2: 694_659_840,
    });
  });

  it("knows a lone network by its config", async () => {
    const config = JSON.stringify(presetFiles(preset("tiny"))["unet/config.json"]);
    const files = memoryFiles("lone", {
      "config.json": config,
      "diffusion_pytorch_model.safetensors": weights,
    });
    const { organs, pipeline } = await modelAnatomy(files);
    expect([pipeline, organs.map(({ className }) => className)]).toEqual([null, ["UNet2DConditionModel"]]);
  });

  it("of something else is an error that says what it is", async () => {
    const controlNet = memoryFiles("cn", {
      "config.json": '{"_class_name":"ControlNetModel"}',
      "model.safetensors": weights,
    });
    await expect(modelAnatomy(controlNet)).rejects.toThrow(
      'cn/config.json: expected a class that koala knows: UNet2DConditionModel, Transformer2DModel, PixArtTransformer2DModel, AutoencoderKL, AutoencoderTiny, CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel, got "ControlNetModel" [E_MODEL]',
    );
    await expect(modelAnatomy(memoryFiles("empty", {}))).rejects.toThrow(
      "empty: expected a model_index.json, a config.json or one checkpoint in safetensors, got nothing [E_MODEL]",
    );
  });
});
