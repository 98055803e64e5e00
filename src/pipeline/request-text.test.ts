/** What pictures record, against the text of A1111's web UI. */

import { describe, expect, it } from "vitest";
import type { Request } from "./request.ts";
import { parametersText, pictureText, readPictureText } from "./request-text.ts";

const request: Request = {
  prompt: "a red apple, on a table",
  negativePrompt: "low quality",
  steps: 20,
  guidance: 3.5,
  guidanceRescale: 0,
  width: 128,
  height: 96,
  seed: 1,
  count: 4,
  scheduler: "euler",
  spacing: "trailing",
  preview: true,
};
const maker = { model: "koala-emoji", version: "0.1.0" };

describe("the parameters text", () => {
  it("is the web UI's", () => {
    expect(parametersText(request, maker)).toBe(
      "a red apple, on a table\n" +
        "Negative prompt: low quality\n" +
        "Steps: 20, Sampler: Euler, Schedule type: SGM Uniform, CFG scale: 3.5, Seed: 1, Size: 128x96, Model: koala-emoji, Version: koala-diffusion 0.1.0",
    );
  });

  it("names no schedule for a sampler that has timesteps of its own", () => {
    expect(parametersText({ ...request, scheduler: "lcm" }, maker)).toContain("Sampler: LCM, CFG scale: 3.5");
  });

  it("has named timesteps and eta, and gives them back", () => {
    const said = { ...request, scheduler: "tcd", steps: 2, timesteps: [999, 499], eta: 0.5 } as const;
    const text = parametersText(said, maker);
    expect(text).toContain("Steps: 2, Sampler: TCD, Timesteps: 999 499, Eta: 0.5, CFG scale: 3.5");
    expect(readPictureText({ parameters: text }, "x.png").request).toMatchObject({
      ...{ scheduler: "tcd", steps: 2, timesteps: [999, 499], eta: 0.5 },
    });
    const etaOf = (rest: string) =>
      readPictureText({ parameters: `a\nSteps: 3, ${rest}` }, "x.png").request.eta;
    expect(parametersText({ ...request, scheduler: "ddim", eta: 1 }, maker)).toContain("Eta DDIM: 1");
    expect([etaOf("Sampler: DDIM, Eta DDIM: 0.2"), etaOf("Sampler: Euler a, Eta: 0.2")]).toEqual([
      0.2,
      undefined,
    ]);
  });

  it("says as the web UI what was drawn of a picture, and over what", () => {
    const said = { ...request, strength: 0.75, paddingMaskCrop: 32 };
    const start = "Denoising strength: 0.75, Inpaint area: Only masked, Masked area padding: 32";
    const textOf = (its: Partial<Request>) => parametersText({ ...said, ...its }, maker);
    expect(textOf({})).toContain(`${start}, Version`);
    expect(textOf({ maskedContent: "original" })).toContain(`${start}, Version`);
    expect(textOf({ maskedContent: "fill" })).toContain(`${start}, Masked content: fill, Version`);
    expect(textOf({ maskedContent: "noise" })).toContain("Masked content: latent noise");
    expect(textOf({ maskedContent: "nothing" })).toContain("Masked content: latent nothing");
  });

  it("leaves out an empty negative prompt and quotes what holds commas", () => {
    const text = parametersText(
      { ...request, prompt: "", negativePrompt: "", scheduler: "dpmpp-2m-karras", guidanceRescale: 0.7 },
      { model: 'a, "b"', version: "0.1.0" },
    );
    expect(text).toBe(
      'Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3.5, Seed: 1, Size: 128x96, Model: "a, \\"b\\"", CFG Rescale: 0.7, Version: koala-diffusion 0.1.0',
    );
  });

  it("of another tool gives the fields that we share", () => {
    const text =
      "masterpiece, a cat\nsecond line\nNegative prompt: bad, worse\n" +
      'Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned, Lora hashes: "a: 1, b: 2", Version: v1.9.4';
    expect(readPictureText({ parameters: text }, "x.png")).toEqual({
      model: "v1-5-pruned",
      missing: ['Lora hashes: "a: 1, b: 2"'],
      request: {
        prompt: "masterpiece, a cat\nsecond line",
        negativePrompt: "bad, worse",
        ...{ steps: 25, guidance: 7, seed: 965400086, width: 512, height: 768, scheduler: "dpmpp-2m-karras" },
        ...{ guidanceRescale: 0, count: 1, preview: false },
      },
    });
  });

  it("of before the web UI's 1.9 has the schedule in the sampler's name, in any case", () => {
    const schedulerOf = (rest: string) =>
      readPictureText({ parameters: `a\nSteps: 3, ${rest}` }, "x.png").request.scheduler;
    expect(schedulerOf("Sampler: DPM++ 2M Karras, Seed: 1")).toBe("dpmpp-2m-karras");
    expect(schedulerOf("Sampler: dpm++ 2m, Schedule type: karras")).toBe("dpmpp-2m-karras");
    expect(schedulerOf("Sampler: DPM++ 2M, Seed: 1")).toBe("dpmpp-2m");
    expect(schedulerOf("Sampler: DPM++ 2M SDE Karras")).toBe("dpmpp-2m-sde-karras");
    expect(schedulerOf("Sampler: DPM++ 2M SDE")).toBe("dpmpp-2m-sde");
    expect(schedulerOf("Sampler: UniPC")).toBe("unipc");
    expect(schedulerOf("Sampler: Euler a")).toBe("euler-a");
  });

  it("has the curve of the noise levels as its schedule type", () => {
    const textOf = (sigmas: Request["sigmas"]) =>
      pictureText({ ...request, scheduler: "euler", ...(sigmas === undefined ? {} : { sigmas }) }, maker)
        .parameters;
    expect(textOf("beta")).toContain("Sampler: Euler, Schedule type: Beta,");
    expect(textOf("timesteps")).toBe(textOf(undefined));
    const read = (rest: string) => readPictureText({ parameters: `a\nSteps: 3, ${rest}` }, "x.png").request;
    expect(read("Sampler: UniPC, Schedule type: Karras")).toMatchObject({
      scheduler: "unipc",
      sigmas: "karras",
    });
    expect(read("Sampler: DDIM, Schedule type: Karras")).not.toHaveProperty("sigmas");
  });

  it("says what its picture was drawn with and we do not do", () => {
    const missingIn = (rest: string) =>
      readPictureText({ parameters: `a\nSteps: 3, ${rest}` }, "x.png").missing;
    expect(missingIn("Sampler: DPM++ 3M SDE Karras, Clip skip: 2, Hires upscale: 2, Seed: 1")).toEqual([
      ...["Sampler: DPM++ 3M SDE Karras", "Hires upscale: 2"],
    ]);
    expect(missingIn("Sampler: Euler, Schedule type: Turbo")).toEqual(["Schedule type: Turbo"]);
    expect(missingIn("Sampler: Euler, Schedule type: Exponential")).toBeUndefined();
    expect(missingIn("Sampler: DDIM, Schedule type: Karras")).toEqual(["Schedule type: Karras"]);
    expect(missingIn("Sampler: LCM Karras")).toEqual(["Schedule type: Karras"]);
    expect(missingIn("Sampler: Euler, Schedule type: Automatic, Clip skip: 1")).toBeUndefined();
    expect(missingIn("Sampler: DPM++ 2M, Schedule type: Karras")).toBeUndefined();
  });

  it("says what was drawn over, added or guided by a net, which we do not do", () => {
    const missingIn = (rest: string) =>
      readPictureText({ parameters: `a\nSteps: 3, Sampler: Euler, ${rest}` }, "x.png").missing;
    expect(missingIn("Denoising strength: 0.7, Mask blur: 4")).toEqual([
      ...["Denoising strength: 0.7", "Mask blur: 4"],
    ]);
    expect(missingIn("Denoising strength: 0")).toBeUndefined(); // as versions before 1.6 wrote for text alone
    expect(missingIn('TI hashes: "easynegative: c74b4e810b03", Lora hashes: "a: 1, b: 2"')).toEqual([
      ...['Lora hashes: "a: 1, b: 2"', 'TI hashes: "easynegative: c74b4e810b03"'],
    ]);
    const unit = "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, Resize Mode: Crop";
    expect(missingIn(`ControlNet 0: "${unit}", Version: v1.9.4`)).toEqual([
      `ControlNet 0: "${unit.slice(0, 78)}…`,
    ]);
    expect(missingIn("ControlNet Enabled: True, ControlNet Module: canny")).toEqual([
      ...["ControlNet Enabled: True", "ControlNet Module: canny"],
    ]);
  });

  it("says what its prompts say beside words, and keeps them as they are, unless we wrote it", () => {
    const prompt = "(red:1.2) apple BREAK a table <lora:style:0.8>";
    const text = `${prompt}\nNegative prompt: [worm:bird:0.5]\nSteps: 3, Sampler: Euler, Version: `;
    const { request: read, missing } = readPictureText({ parameters: `${text}v1.9.4` }, "x.png");
    expect(read).toMatchObject({ prompt, negativePrompt: "[worm:bird:0.5]" });
    expect(missing).toEqual([
      ...["<lora:style:0.8> in the prompt", "BREAK in the prompt"],
      "[worm:bird:0.5] in the negative prompt",
    ]);
    const ours = readPictureText({ parameters: `${text}koala-diffusion 0.1.0` }, "x.png");
    expect(ours.missing).toBeUndefined();
  });

  it("counts CLIP's layers from 1, the last", () => {
    expect(parametersText({ ...request, clipSkip: 1 }, maker)).toContain(
      "CFG scale: 3.5, Clip skip: 2, Seed: 1",
    );
    expect(parametersText({ ...request, clipSkip: 0 }, maker)).not.toContain("Clip skip");
    const skipIn = (rest: string) =>
      readPictureText({ parameters: `a\nSteps: 3, ${rest}` }, "x.png").request.clipSkip;
    expect([skipIn("Clip skip: 2, Seed: 1"), skipIn("Clip skip: 1"), skipIn("Seed: 1")]).toEqual([
      1,
      undefined,
      undefined,
    ]);
  });

  it("may be a prompt alone", () => {
    expect(readPictureText({ parameters: "just words" }, "x.png").request.prompt).toBe("just words");
  });
});

describe("a picture's own record", () => {
  it("repeats the request of that one picture", () => {
    const { preview: _, ...kept } = request;
    expect(readPictureText(pictureText(request, maker), "x.png")).toEqual({
      model: "koala-emoji",
      request: { ...kept, count: 1, preview: false },
    });
  });

  it("survives through the parameters text alone", () => {
    const { parameters } = pictureText(request, maker);
    expect(readPictureText({ parameters }, "x.png").request).toEqual({
      ...request,
      count: 1,
      preview: false,
    });
  });

  it("is checked like any request", () => {
    expect(() => readPictureText({ koala: '{"request":{"prompt":"a","steps":0}}' }, "x.png")).toThrow(
      "steps: expected a whole number from 1 to 1000, got 0 [E_REQUEST]",
    );
    expect(() => readPictureText({ parameters: "a\nSteps: 20, CFG scale: x" }, "x.png")).toThrow(
      "guidance: expected a number from 0 to 50, got NaN [E_REQUEST]",
    );
    expect(() => readPictureText({ koala: "{" }, "x.png")).toThrow(
      "x.png: expected JSON with a request in text koala, got { [E_IMAGE]",
    );
  });

  it("has to be there", () => {
    expect(() => readPictureText({}, "x.png")).toThrow(
      "x.png: expected a picture that records its request (text koala or parameters), got no text [E_IMAGE]",
    );
    expect(() => readPictureText({ Software: "gimp" }, "x.png")).toThrow(
      "x.png: expected a picture that records its request (text koala or parameters), got only Software [E_IMAGE]",
    );
  });
});

it("remembers by name what was added to the model", () => {
  const texts = pictureText(request, { ...maker, loras: ["style.safetensors:0.8"] });
  expect(texts.parameters).toContain('Loras: "style.safetensors:0.8"');
  expect(readPictureText(texts, "picture").loras).toEqual(["style.safetensors:0.8"]);
});
