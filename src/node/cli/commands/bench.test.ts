import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";

inEmptyFolders();

describe("koala bench", () => {
  it.each([
    [
      ["unett"],
      'koala bench: expected one of unet, image, load, memory, models, quality, train-step, serve, got "unett" [E_FLAG]\nDid you mean unet?\n',
    ],
    [
      ["--against", "difusers"],
      '--against: expected one of diffusers, openvino, sdcpp, got "difusers" [E_FLAG]\nDid you mean diffusers?\n',
    ],
    [
      ["--against", "diffusers:int8"],
      '--against diffusers: expected one of f32, bf16, got "int8" [E_FLAG]\n',
    ],
    [
      ["--precision", "fp8"],
      '--precision: expected one of f32, bf16, f16, int8, int4, got "fp8" [E_FLAG]\nDid you mean f16?\n',
    ],
    [
      ["--size", "500"],
      '--size: expected a multiple of 8 from 8 to 4096 (px), or several with commas, got "500" [E_FLAG]\n',
    ],
    [["--rounds", "0"], '--rounds: expected a whole number from 1 to 100, got "0" [E_FLAG]\n'],
    [["--steps", ""], '--steps: expected a whole number from 1 to 1000, got "" [E_FLAG]\n'],
    [
      ["memory", "--memory", "much"],
      '--memory: expected a size such as 4GB, 1500MB or 2GiB, got "much" [E_FLAG]\n',
    ],
    [
      ["--python", "/nowhere/python"],
      "--python: expected the program of a Python, got /nowhere/python [E_FLAG]\nscripts/peers/install.sh makes one with the peers in .venv/bin/python.\n",
    ],
    [
      ["unet", "koala-700m", "koala-1b"],
      "koala bench unet: expected one model, got koala-700m koala-1b [E_FLAG]\n",
    ],
    [
      ["unet", "--quantized", "."],
      "--quantized: expected a folder that koala quantize made, got . [E_FLAG]\n",
    ],
    [
      ["quality", "--against", "none"],
      "koala bench quality: expected quantized folders and then the model in floats, got nothing [E_FLAG]\nFor example: koala bench quality emoji-int8 models/koala-emoji\n",
    ],
    [
      ["unet", "koala-700", "--against", "none"],
      "koala-700: expected a preset, or a folder with a model_index.json, got neither [E_MODEL]\nDid you mean koala-700m?\n",
    ],
  ])("refuses %j in one sentence", async (argv, sentence) => {
    const { code, out, err } = await run(["bench", ...argv, "--quiet"]);
    expect([code, out, err]).toEqual([2, "", sentence]);
  });
});
