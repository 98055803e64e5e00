/**
 * The API of A1111's web UI, as far as it draws from text and pictures. Source: modules/api/api.py and models.py of
 * AUTOMATIC1111/stable-diffusion-webui. Settings that would change the picture and that we have not are refused.
 */

import { type Context, Hono } from "hono";
import { isKarras, schedulerNames } from "../../diffusion/scheduler.ts";
import { parametersText, samplers } from "../../pipeline/request-text.ts";
import { packageVersion } from "../cli/package.ts";
import { readText } from "../png-text.ts";
import {
  checkCurve,
  checkEta,
  clipSkipFrom,
  nameOf,
  type Options,
  optionsFrom,
  read,
  scheduleLabels,
} from "./a1111-request.ts";
import { fromNoise, readStart, type Started } from "./a1111-start.ts";
import type { Env } from "./access.ts";
import { awaitJob, filesOf, inBase64, type PictureFile } from "./await-job.ts";
import { type JsonObject, pictureBytes, readJsonObject, readObjectWithPictures } from "./body.ts";
import type { Job } from "./job.ts";
import type { ServerParts } from "./parts.ts";
import { bytesFrom } from "./start-pictures.ts";

/** What a picture's file says of it; null where that is nothing, or cannot be read any more. */
function saidIn({ png }: PictureFile): string | null {
  try {
    return readText(png, "picture").parameters ?? null;
  } catch {
    return null;
  }
}

/** What the web UI tells of pictures, as JSON in a string. */
function infoOf({ request, model, created, pictures }: Job, files: readonly PictureFile[]): string {
  const maker = { model, version: packageVersion() };
  const seeds = Array.from({ length: request.count }, (_, i) => request.seed + i);
  const textOf = (seed: number): string => parametersText({ ...request, seed }, maker);
  const texts = files.map((file) => saidIn(file) ?? textOf(file.seed));
  return JSON.stringify({
    prompt: request.prompt,
    all_prompts: seeds.map(() => request.prompt),
    negative_prompt: request.negativePrompt ?? "",
    all_negative_prompts: seeds.map(() => request.negativePrompt ?? ""),
    ...{ seed: request.seed, all_seeds: seeds, width: request.width, height: request.height },
    sampler_name: samplers[request.scheduler],
    cfg_scale: request.guidance,
    ...{ steps: request.steps, batch_size: request.count, sd_model_name: model },
    infotexts: texts.length > 0 ? texts : [textOf(request.seed)], // the web UI has one where nothing was drawn, too
    ...(pictures.some(({ nsfw }) => nsfw !== undefined)
      ? { nsfw: pictures.map(({ nsfw }) => nsfw ?? null) }
      : {}),
    job_timestamp: timestamp(created),
    version: `koala-diffusion ${maker.version}`,
  });
}

/** "20260131235959" */
const timestamp = (ms: number): string => new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14);

interface Step {
  readonly index: number;
  readonly step: number;
  readonly steps: number;
}

export function a1111Door(parts: ServerParts): Hono<Env> {
  const { jobs, store, models } = parts;
  const door = new Hono<Env>();
  const settingsKey = (c: Context<Env>): string => `a1111 ${c.var.asker.owner}`;
  /** As they are kept, without a model that an earlier start offered and this one does not. */
  function optionsOf(c: Context<Env>): Options {
    const { sd_model_checkpoint: name, ...rest } = store.settings(settingsKey(c)) as Options;
    const isServed = name !== undefined && models.all.some((model) => model.name === name);
    return isServed ? { ...rest, sd_model_checkpoint: name } : rest;
  }

  /** A body's job, and the answer; it starts from pictures where there are some. */
  async function draw(c: Context<Env>, body: JsonObject, { start, fit, fields }: Started): Promise<Response> {
    const options = {
      ...optionsOf(c),
      ...optionsFrom(body.override_settings ?? {}, models, "override_settings"),
    };
    const model = models.named(options.sd_model_checkpoint, "sd_model_checkpoint");
    const input = {
      ...{ ...read(body), ...(model.isXL ? {} : clipSkipFrom(options)), ...fields }, // on SDXL the web UI passes over it
      preview: options.live_previews_enable === true,
    };
    const accepted = await models.acceptStarted(model, input, start, { fieldOf: nameOf, fit });
    checkCurve(accepted.request);
    checkEta(body.eta, accepted.request.scheduler);
    const job = await awaitJob(c, parts, model.name, accepted);
    const files = await filesOf(parts, job);
    const images = body.send_images === false ? [] : await inBase64(files);
    // what came in as pictures is not sent back, unless it is asked for
    const { init_images: _images, mask: _mask, ...parameters } = body;
    return c.json({
      images,
      parameters: body.include_init_images === true ? body : parameters,
      info: infoOf(job, files),
    });
  }

  door.post("/txt2img", async (c) => draw(c, await readJsonObject(c), fromNoise));

  door.post("/img2img", async (c) => {
    const body = await readObjectWithPictures(c, ["init_images", "mask"]);
    return draw(c, body, await readStart(body));
  });

  /** What of the asker's runs, longest first: with one token or none, others own their jobs too. */
  function running(c: Context<Env>): Job[] {
    const { owner, client } = c.var.asker;
    return jobs
      .runningIds()
      .map((id) => store.get(id))
      .filter((job) => job !== null)
      .filter((job) => job.owner === owner && job.client === client);
  }

  door.get("/progress", (c) => {
    const [job = null] = running(c);
    const log = job === null ? null : jobs.logFor(job.id);
    const step = log?.last("step") as Step | undefined;
    const preview = log?.last("preview") as { png: string } | undefined;
    const count = job?.request.count ?? 0;
    const progress = step === undefined ? 0 : (step.index + step.step / step.steps) / Math.max(1, count);
    const elapsed = job?.started == null ? 0 : (Date.now() - job.started) / 1000;
    const isWithoutPicture =
      c.req.query("skip_current_image") === "true" || c.req.query("skipCurrentImage") === "true";
    return c.json({
      progress,
      eta_relative: progress === 0 ? 0 : elapsed / progress - elapsed,
      state: {
        ...{ skipped: false, interrupted: false, job: job?.id ?? "", job_count: count },
        job_timestamp: job === null ? "0" : timestamp(job.created),
        job_no: step?.index ?? 0,
        sampling_step: step?.step ?? 0,
        sampling_steps: step?.steps ?? 0,
      },
      current_image: isWithoutPicture ? null : (preview?.png ?? null),
      textinfo: null,
    });
  });

  /** Ends what of the asker's runs; txt2img then answers with the pictures that were done. */
  door.post("/interrupt", (c) => {
    for (const job of running(c)) if (job.state === "running") jobs.cancel(job);
    return c.json({});
  });

  door.get("/samplers", (c) =>
    c.json(
      schedulerNames.map((name) => ({
        name: isKarras(name) ? `${samplers[name]} Karras` : samplers[name],
        aliases: [name],
        options: {},
      })),
    ),
  );

  door.get("/schedulers", (c) =>
    c.json(
      scheduleLabels.map((label) => ({
        ...{ name: label.toLowerCase().replaceAll(" ", "_"), label },
        ...{ aliases: null, default_rho: -1, need_inner_model: false },
      })),
    ),
  );

  door.get("/sd-models", (c) =>
    c.json(
      models.all.map(({ name }) => ({
        ...{ title: name, model_name: name, hash: null, sha256: null },
        filename: name, // not a path: where models lie is nobody's business
        config: null,
      })),
    ),
  );

  door.get("/options", (c) => {
    const {
      sd_model_checkpoint: model,
      live_previews_enable: previews,
      CLIP_stop_at_last_layers: clipLayer,
    } = optionsOf(c);
    return c.json({
      sd_model_checkpoint: model ?? models.first.name,
      live_previews_enable: previews ?? false,
      CLIP_stop_at_last_layers: clipLayer ?? 1,
      samples_format: "png",
    });
  });

  door.post("/options", async (c) => {
    const given = optionsFrom(await readJsonObject(c), models);
    store.saveSettings(settingsKey(c), { ...optionsOf(c), ...given });
    return c.json({});
  });

  door.post("/png-info", async (c) => {
    const { image } = await readJsonObject(c, pictureBytes);
    const texts = readText(bytesFrom(image, "image"), "image");
    return c.json({ info: texts.parameters ?? "", items: texts, parameters: {} });
  });
  return door;
}
