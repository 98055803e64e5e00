/** Pictures that clients send to start from, at each of the doors. */

import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { accepted, type Scene, says, scenes } from "../../../test/server-scene.ts";
import { decodePicture } from "../image-file.ts";
import type { Task } from "./crew.ts";
import type { JobView } from "./job.ts";

const scene = scenes();

/** A PNG of one colour. */
const png = (width: number, height: number, background: string): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 4, background } })
    .png()
    .toBuffer();
const base64 = async (width: number, height: number, background = "white"): Promise<string> =>
  (await png(width, height, background)).toString("base64");

/** Remembers what is drawn. */
function watched(s: Scene): Task[] {
  const tasks: Task[] = [];
  s.crew.before = async (task) => {
    tasks.push(task);
  };
  return tasks;
}

/** Size and first pixel of a picture in base64. */
async function seen(text: string | null | undefined): Promise<unknown> {
  const { width, height, data } = await decodePicture(Buffer.from(text ?? "", "base64"), "sent");
  return { width, height, first: [...data.subarray(0, 3)] };
}

describe("/api/jobs", () => {
  it("draws from a picture of the request's size, with its mask, and shows both", async () => {
    const s = await scene();
    const tasks = watched(s);
    const job = await accepted(s, {
      ...{ prompt: "a red apple", image: await base64(60, 30, "#ff0000"), mask: await base64(60, 30) },
      width: 64,
    });
    await s.jobs.ended(job.id);
    expect(job.request).toMatchObject({ width: 64, height: 32, strength: 1 });
    const [task] = tasks;
    expect(await seen(task?.start?.image)).toEqual({ width: 64, height: 32, first: [255, 0, 0] });
    expect(await seen(task?.start?.mask)).toEqual({ width: 64, height: 32, first: [255, 255, 255] });
    const addresses = { image: `/pictures/${job.id}/image.png`, mask: `/pictures/${job.id}/mask.png` };
    expect(job.start).toEqual(addresses);
    const shown = await s.ask("GET", addresses.image);
    expect(shown.headers.get("content-type")).toBe("image/png");
    expect(await seen(Buffer.from(await shown.arrayBuffer()).toString("base64"))).toEqual({
      ...{ width: 64, height: 32, first: [255, 0, 0] },
    });
  });

  it("takes a data URL, and the shape of the picture at the model's number of pixels", async () => {
    const s = await scene();
    const image = `data:image/png;base64,${await base64(400, 100)}`;
    const { request } = await accepted(s, { prompt: "a", image });
    expect(request).toMatchObject({ width: 24, height: 8, strength: 0.75 });
  });

  it("keeps what a job starts from as long as the job", async () => {
    const s = await scene();
    const job = await accepted(s, { prompt: "a", image: await base64(64, 64) });
    await s.jobs.ended(job.id);
    expect(((await (await s.ask("GET", `/api/jobs/${job.id}`)).json()) as JobView).start).toEqual({
      ...{ image: `/pictures/${job.id}/image.png`, mask: null },
    });
    expect((await s.ask("GET", `/pictures/${job.id}/mask.png`)).status).toBe(404);
    await s.ask("DELETE", `/api/jobs/${job.id}`);
    expect((await s.ask("GET", `/pictures/${job.id}/image.png`)).status).toBe(404);
    expect(s.store.startOf(job.id)).toBeNull();
  });

  it("goes with the last picture that is removed", async () => {
    const s = await scene();
    const job = await accepted(s, { prompt: "a", image: await base64(64, 64) });
    await s.jobs.ended(job.id);
    await s.ask("DELETE", `/api/jobs/${job.id}/pictures/0`);
    expect(s.store.startOf(job.id)).toBeNull();
  });

  it("says of other jobs that they start from nothing", async () => {
    const s = await scene();
    expect((await accepted(s, { prompt: "a" })).start).toBeNull();
  });

  it("takes a picture that is larger than other bodies may be", async () => {
    const s = await scene();
    const noise = sharp({
      create: {
        width: 800,
        height: 800,
        channels: 3,
        noise: { type: "gaussian", mean: 128, sigma: 60 },
        background: "white",
      },
    });
    const image = (await noise.png().toBuffer()).toString("base64");
    expect(image.length).toBeGreaterThan(524_288);
    expect((await s.ask("POST", "/api/jobs", { prompt: "a", image, width: 64, height: 64 })).status).toBe(
      202,
    );
    expect(await says(await s.ask("POST", "/api/jobs", { prompt: image }))).toEqual([
      413,
      "body: expected at most 524288 bytes, got more [E_TOO_LARGE]",
    ]);
  });

  it("leaves a picture of which the mask's surroundings are drawn as it is", async () => {
    const s = await scene();
    const tasks = watched(s);
    const start = { image: await base64(60, 30, "#ff0000"), mask: await base64(60, 30) };
    const job = await accepted(s, { prompt: "a", ...start, paddingMaskCrop: 4, maskedContent: "noise" });
    await s.jobs.ended(job.id);
    // the model's own size, since the picture's shape is not what is drawn
    expect(job.request).toMatchObject({ width: 16, height: 8, paddingMaskCrop: 4, maskedContent: "noise" });
    expect(await seen(tasks[0]?.start?.image)).toEqual({ width: 60, height: 30, first: [255, 0, 0] });
    expect(await seen(tasks[0]?.start?.mask)).toEqual({ width: 60, height: 30, first: [255, 255, 255] });
  });

  it("refuses a larger one than is kept, and one without a mask", async () => {
    const s = await scene();
    const image = await base64(4104, 8);
    const ask = (body: object) => s.ask("POST", "/api/jobs", { prompt: "a", paddingMaskCrop: 4, ...body });
    expect(await says(await ask({ image, mask: image }))).toEqual([
      400,
      "image: expected at most 4096 x 4096 px, since the picture keeps its size, got 4104 x 8 px [E_REQUEST]",
    ]);
    expect(await says(await ask({ image: await base64(64, 64) }))).toEqual([
      400,
      "paddingMaskCrop: expected a mask of what is drawn anew beside it, got none [E_REQUEST]",
    ]);
  });

  it.each([
    [{ strength: 0.5 }, "strength: expected a picture to start from beside it, got none"],
    [{ mask: "iVBORw0KGgo=" }, "mask: expected a picture of a format that sharp reads"],
    [{ image: 5 }, "image: expected a picture in base64, got 5"],
    [{ image: "" }, "image: expected a picture of a format that sharp reads"],
  ])("refuses %j", async (body, message) => {
    const s = await scene();
    const [status, sentence] = (await says(await s.ask("POST", "/api/jobs", { prompt: "a", ...body }))) as [
      number,
      string,
    ];
    expect([status, sentence.slice(0, message.length)]).toEqual([400, message]);
  });

  it("refuses a mask of another size than the picture, and pictures beyond the limits", async () => {
    const s = await scene();
    const image = await base64(64, 64);
    expect(
      await says(await s.ask("POST", "/api/jobs", { prompt: "a", image, mask: await base64(32, 64) })),
    ).toEqual([400, "mask: expected 64 x 64 px, as the picture, got 32 x 64 px [E_REQUEST]"]);
    expect(
      await says(await s.ask("POST", "/api/jobs", { prompt: "a", image, width: 4096, height: 64 })),
    ).toEqual([400, "width: expected at most 2048 (px) on this server, got 4096 [E_REQUEST]"]);
  });
});

describe("A1111's img2img", () => {
  const ask = (s: Scene, body: object): Promise<Response> => s.ask("POST", "/sdapi/v1/img2img", body);

  it("draws over, pulled to the size as the web UI does, with its own usual strength", async () => {
    const s = await scene();
    const tasks = watched(s);
    const image = await base64(64, 32, "#0000ff");
    const answer = await ask(s, { prompt: "a", init_images: [image], width: 64, height: 64 });
    expect(answer.status).toBe(200);
    const { images, parameters, info } = (await answer.json()) as Record<string, unknown>;
    expect(images).toHaveLength(1);
    expect(parameters).toEqual({ prompt: "a", width: 64, height: 64 });
    expect(JSON.parse(info as string).infotexts[0]).toContain("Denoising strength: 0.75");
    expect(tasks[0]?.request.strength).toBe(0.75);
    expect(await seen(tasks[0]?.start?.image)).toEqual({ width: 64, height: 64, first: [0, 0, 255] });
  });

  it("follows denoising_strength, a mask and its inversion", async () => {
    const s = await scene();
    const tasks = watched(s);
    await ask(s, {
      ...{ prompt: "a", init_images: [await base64(64, 64)], mask: await base64(64, 64, "black") },
      ...{ denoising_strength: 0.4, inpainting_mask_invert: 1, mask_blur: 4, width: 64, height: 64 },
    });
    expect(tasks[0]?.request.strength).toBe(0.4);
    expect(await seen(tasks[0]?.start?.mask)).toEqual({ width: 64, height: 64, first: [255, 255, 255] });
  });

  /** A mask of 64 x 48 px with a white square of 8 px in it. */
  const squareMask = async (): Promise<string> =>
    (
      await sharp(await png(64, 48, "black"))
        .composite([{ input: await png(8, 8, "white"), left: 40, top: 10 }])
        .png()
        .toBuffer()
    ).toString("base64");

  it.each([
    [true, 32],
    [1, 5],
    [undefined, undefined], // the web UI's own are only what is masked, without padding
  ])("draws the mask's surroundings alone with inpaint_full_res %j and padding %j", async (isFull, padding) => {
    const s = await scene();
    const tasks = watched(s);
    const answer = await ask(s, {
      ...{ prompt: "a", init_images: [await base64(64, 48, "#0000ff")], mask: await squareMask() },
      ...{ mask_blur: 0, inpaint_full_res: isFull, inpaint_full_res_padding: padding },
      ...{ width: 128, height: 128 },
    });
    expect(answer.status).toBe(200);
    const [task] = tasks;
    expect(task?.request).toMatchObject({ width: 128, height: 128, paddingMaskCrop: padding ?? 0 });
    expect(await seen(task?.start?.image)).toEqual({ width: 64, height: 48, first: [0, 0, 255] });
    expect(await seen(task?.start?.mask)).toEqual({ width: 64, height: 48, first: [0, 0, 0] });
    const { info } = (await answer.json()) as { info: string };
    const [text] = JSON.parse(info).infotexts;
    expect(text).toContain(`Inpaint area: Only masked, Masked area padding: ${padding ?? 0}`);
  });

  it.each([false, 0])("draws all of the picture with inpaint_full_res %j", async (isFull) => {
    const s = await scene();
    const tasks = watched(s);
    await ask(s, {
      ...{ prompt: "a", init_images: [await base64(64, 48)], mask: await squareMask() },
      ...{ inpaint_full_res: isFull, inpaint_full_res_padding: 32, width: 128, height: 128 },
    });
    expect(tasks[0]?.request).not.toHaveProperty("paddingMaskCrop");
    expect(await seen(tasks[0]?.start?.mask)).toMatchObject({ width: 128, height: 128 });
  });

  it.each([
    [0, "fill"],
    [1, "original"],
    [2, "noise"],
    [3, "nothing"],
    [undefined, "fill"],
  ])("puts with inpainting_fill %j under the mask: %s", async (fill, content) => {
    const s = await scene();
    const tasks = watched(s);
    await ask(s, {
      ...{ prompt: "a", init_images: [await base64(64, 48)], mask: await squareMask() },
      ...{ inpainting_fill: fill, width: 64, height: 48 },
    });
    expect(tasks[0]?.request.maskedContent).toBe(content);
  });

  it("asks nothing of a mask that is not there", async () => {
    const s = await scene();
    const tasks = watched(s);
    const images = { init_images: [await base64(64, 48)], mask: null };
    await ask(s, { prompt: "a", ...images, inpaint_full_res: true, inpainting_fill: 0, width: 64 });
    expect(tasks[0]?.request).toMatchObject({ width: 64, height: 48, strength: 0.75 });
    expect(tasks[0]?.request).not.toHaveProperty("paddingMaskCrop");
    expect(tasks[0]?.request).not.toHaveProperty("maskedContent");
  });

  it.each([
    [
      { inpaint_full_res_padding: -1 },
      "inpaint_full_res_padding: expected a whole number from 0 to 8192 (px), got -1",
    ],
    [
      { inpaint_full_res_padding: "32" },
      'inpaint_full_res_padding: expected a whole number from 0 to 8192 (px), got "32"',
    ],
    [
      { inpainting_mask_invert: 1 },
      "mask: expected some white, around which is drawn, got one that is black all over",
    ],
  ])("refuses with a white mask %j", async (body, message) => {
    const s = await scene();
    const start = { init_images: [await base64(64, 64)], mask: await base64(64, 64) };
    expect(await says(await ask(s, { prompt: "a", ...start, ...body }))).toEqual([
      400,
      `${message} [E_REQUEST]`,
    ]);
  });

  it.each([
    [{}, "init_images: expected a list of one picture in base64, got nothing"],
    [{ init_images: [] }, "init_images: expected a list of one picture in base64, got 0 of them"],
    [{ init_images: ["no"], resize_mode: 2 }, "resize_mode: expected one of 0, 1, got 2"],
    [
      { init_images: ["no"], mask: "no", inpaint_full_res: "yes" },
      'inpaint_full_res: expected one of false, true, 0, 1, got "yes"',
    ],
    [
      { init_images: ["no"], mask: "no", inpainting_fill: 4 },
      "inpainting_fill: expected one of 0, 1, 2, 3, got 4",
    ],
    [{ init_images: ["no"], mask_blur: -1 }, "mask_blur: expected a number from 0 to 64 (px), got -1"],
  ])("refuses %j", async (body, message) => {
    const s = await scene();
    expect(await says(await ask(s, { prompt: "a", ...body }))).toEqual([400, `${message} [E_REQUEST]`]);
  });

  it("calls strength by the web UI's name", async () => {
    const s = await scene();
    const body = { prompt: "a", init_images: [await base64(64, 64)], denoising_strength: 2 };
    expect(await says(await ask(s, body))).toEqual([
      400,
      "denoising_strength: expected a number from 0 to 1, got 2 [E_REQUEST]",
    ]);
  });
});

describe("OpenAI's image edits", () => {
  /** A form as clients send it. */
  async function ask(s: Scene, fields: Readonly<Record<string, string | Buffer>>): Promise<Response> {
    const form = new FormData();
    for (const [key, value] of Object.entries(fields))
      form.append(key, typeof value === "string" ? value : new File([new Uint8Array(value)], `${key}.png`));
    const sent = new Response(form);
    const body = new Uint8Array(await sent.arrayBuffer());
    return s.ask("POST", "/v1/images/edits", body, {
      "content-type": sent.headers.get("content-type") ?? "",
    });
  }

  it("draws anew where the mask is transparent", async () => {
    const s = await scene();
    const tasks = watched(s);
    const answer = await ask(s, {
      ...{ prompt: "a hat", n: "2", seed: "7", size: "64x64", response_format: "b64_json" },
      ...{ image: await png(64, 64, "#00ff00"), mask: await png(64, 64, "#00000000") },
    });
    expect(((await answer.json()) as { data: unknown[] }).data).toHaveLength(2);
    expect(tasks[0]?.request).toMatchObject({ prompt: "a hat", count: 2, seed: 7, strength: 1 });
    expect(await seen(tasks[0]?.start?.image)).toEqual({ width: 64, height: 64, first: [0, 255, 0] });
    expect(await seen(tasks[0]?.start?.mask)).toEqual({ width: 64, height: 64, first: [255, 255, 255] });
  });

  it("refuses what is no form, no picture, and a mask without transparency", async () => {
    const s = await scene();
    expect(await says(await s.ask("POST", "/v1/images/edits", { prompt: "a" }))).toEqual([
      400,
      "body: expected a form (multipart/form-data) with image, prompt and perhaps mask, got application/json [E_REQUEST]",
    ]);
    expect(await says(await ask(s, { prompt: "a" }))).toEqual([
      400,
      "image: expected one picture as a file, got none [E_REQUEST]",
    ]);
    const opaque = await sharp(await png(64, 64, "white"))
      .removeAlpha()
      .png()
      .toBuffer();
    expect(await says(await ask(s, { prompt: "a", image: opaque, mask: opaque }))).toEqual([
      400,
      "mask: expected a picture with transparent parts, which are drawn anew, got one without transparency [E_IMAGE]",
    ]);
  });
});
