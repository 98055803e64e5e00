/**
 * The API of A1111's web UI, as far as it draws from text. Source: modules/api/api.py and models.py of
 * AUTOMATIC1111/stable-diffusion-webui. Settings that would change the picture and that we have not are refused.
 */

import { type Context, Hono } from "hono";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { type SchedulerName, schedulerNames } from "../../diffusion/scheduler.ts";
import { parametersText, samplers } from "../../pipeline/request-text.ts";
import { packageVersion } from "../cli/package.ts";
import { readText } from "../png-text.ts";
import type { Env } from "./access.ts";
import { awaitJob, picturesOf } from "./await-job.ts";
import { type JsonObject, pictureBytes, quoted, readJsonObject } from "./body.ts";
import type { Job } from "./job.ts";
import type { ServerParts } from "./parts.ts";

/** The web UI's names for fields of ours. */
const names: Readonly<Record<string, string>> = {
  negativePrompt: "negative_prompt",
  guidance: "cfg_scale",
  scheduler: "sampler_name",
  count: "batch_size",
};
const nameOf = (key: string): string => names[key] ?? key;

/** With these the picture would be another one than asked for. */
const refused: readonly (readonly [
  field: string,
  isNeutral: (value: unknown) => boolean,
  expected: string,
])[] = [
  ["enable_hr", (v) => v === false, "false"],
  ["restore_faces", (v) => v === false, "false"],
  ["tiling", (v) => v === false, "false"],
  ["styles", (v) => Array.isArray(v) && v.length === 0, "none"],
  ["subseed_strength", (v) => v === 0, "0"],
  ["script_name", (v) => v === "", "none"],
  ["alwayson_scripts", hasNoScripts, "scripts without arguments"],
];

/** Clients send empty entries of extensions that they know. */
function hasNoScripts(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((script) => {
      const args = (script as { args?: unknown } | null)?.args;
      return args === undefined || (Array.isArray(args) && args.length === 0);
    })
  );
}

/** One of ours by its name in the web UI (of version 1.9 on, or with the schedule in it as before) or our own. */
function schedulerOf(sampler: unknown, type: unknown): SchedulerName {
  const isKarras = typeof type === "string" && type.toLowerCase() === "karras";
  const wanted = typeof sampler === "string" ? sampler.toLowerCase() : "";
  const own = schedulerNames.find((name) => name === wanted);
  const found = schedulerNames.filter(
    (name) => samplers[name].toLowerCase() === wanted.replace(/ karras$/, ""),
  );
  const chosen =
    own ?? found.find((name) => name.endsWith("karras") === (isKarras || wanted.endsWith(" karras")));
  if (chosen !== undefined) return chosen;
  throw new KoalaError("E_REQUEST", {
    where: "sampler_name",
    expected: `one of ${[...new Set(Object.values(samplers))].join(", ")}`,
    got: quoted(sampler),
  });
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** The fields of a request that are in a txt2img body. @throws KoalaError E_REQUEST */
function read(body: JsonObject): JsonObject {
  for (const [field, isNeutral, expected] of refused) {
    const value = body[field];
    check(!isGiven(value) || isNeutral(value), "E_REQUEST", () => ({
      where: field,
      expected,
      got: quoted(value),
    }));
  }
  const pairs: [string, unknown][] = [
    ["prompt", body.prompt ?? ""],
    ["negativePrompt", body.negative_prompt === "" ? undefined : body.negative_prompt], // "": the model's own idea
    ["steps", body.steps],
    ["guidance", body.cfg_scale],
    ["width", body.width],
    ["height", body.height],
    ["seed", body.seed === -1 ? undefined : body.seed],
  ];
  const sampler = body.sampler_name ?? body.sampler_index;
  if (isGiven(sampler)) pairs.push(["scheduler", schedulerOf(sampler, body.scheduler)]);
  const counts = [body.batch_size, body.n_iter].filter(isGiven);
  const wrong = counts.find((n) => !Number.isInteger(n)); // may be anything: not even a number can be made of some
  if (wrong !== undefined) pairs.push(["count", wrong]);
  else if (counts.length > 0) pairs.push(["count", counts.reduce<number>((all, n) => all * Number(n), 1)]);
  return Object.fromEntries(pairs.filter(([, value]) => isGiven(value)));
}

/** What the web UI tells of a picture, as JSON in a string. */
function infoOf({ request, model, created, pictures }: Job): string {
  const maker = { model, version: packageVersion() };
  const seeds = Array.from({ length: request.count }, (_, i) => request.seed + i);
  return JSON.stringify({
    prompt: request.prompt,
    all_prompts: seeds.map(() => request.prompt),
    negative_prompt: request.negativePrompt ?? "",
    all_negative_prompts: seeds.map(() => request.negativePrompt ?? ""),
    ...{ seed: request.seed, all_seeds: seeds, width: request.width, height: request.height },
    sampler_name: samplers[request.scheduler],
    cfg_scale: request.guidance,
    ...{ steps: request.steps, batch_size: request.count, sd_model_name: model },
    infotexts: seeds.map((seed) => parametersText({ ...request, seed }, maker)),
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

/** The options that mean something here. */
interface Options {
  readonly sd_model_checkpoint?: string;
  readonly live_previews_enable?: boolean;
}

export function a1111Door(parts: ServerParts): Hono<Env> {
  const { jobs, store, models } = parts;
  const door = new Hono<Env>();
  const settingsKey = (c: Context<Env>): string => `a1111 ${c.var.asker.owner}`;
  const optionsOf = (c: Context<Env>): Options => store.settings(settingsKey(c)) as Options;

  door.post("/txt2img", async (c) => {
    const body = await readJsonObject(c);
    const options = { ...optionsOf(c), ...((body.override_settings ?? {}) as Options) };
    const model = models.named(options.sd_model_checkpoint, "sd_model_checkpoint");
    const input = { ...read(body), preview: options.live_previews_enable === true };
    const job = await awaitJob(c, parts, model.name, models.accept(model, input, nameOf));
    const images = body.send_images === false ? [] : await picturesOf(parts, job);
    return c.json({ images, parameters: body, info: infoOf(job) });
  });

  /** The asker's job that runs the longest. */
  function current(c: Context<Env>): Job | null {
    const mine = jobs.runningIds().map((id) => store.get(id));
    return mine.find((job) => job?.owner === c.var.asker.owner) ?? null;
  }

  door.get("/progress", (c) => {
    const job = current(c);
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
    for (const id of jobs.runningIds()) {
      const job = store.get(id);
      if (job?.owner === c.var.asker.owner && job.state === "running") jobs.cancel(job);
    }
    return c.json({});
  });

  door.get("/samplers", (c) =>
    c.json(
      schedulerNames.map((name) => ({
        name: name === "dpmpp-2m-karras" ? `${samplers[name]} Karras` : samplers[name],
        aliases: [name],
        options: {},
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
    const { sd_model_checkpoint: model, live_previews_enable: previews } = optionsOf(c);
    return c.json({
      sd_model_checkpoint: model ?? models.first.name,
      live_previews_enable: previews ?? false,
      samples_format: "png",
    });
  });

  door.post("/options", async (c) => {
    const { sd_model_checkpoint: name, live_previews_enable: previews, ...rest } = await readJsonObject(c);
    const [unknown] = Object.keys(rest);
    check(unknown === undefined, "E_REQUEST", () => ({
      where: (unknown ?? "").slice(0, 80),
      expected: "sd_model_checkpoint or live_previews_enable, the options of this server",
      got: "another one",
    }));
    check(!isGiven(previews) || typeof previews === "boolean", "E_REQUEST", () => ({
      where: "live_previews_enable",
      expected: "true or false",
      got: quoted(previews),
    }));
    const chosen = isGiven(name)
      ? { sd_model_checkpoint: models.named(name, "sd_model_checkpoint").name }
      : {};
    const shown = typeof previews === "boolean" ? { live_previews_enable: previews } : {};
    store.saveSettings(settingsKey(c), { ...optionsOf(c), ...chosen, ...shown });
    return c.json({});
  });

  door.post("/png-info", async (c) => {
    const { image } = await readJsonObject(c, pictureBytes);
    check(typeof image === "string", "E_REQUEST", () => ({
      where: "image",
      expected: "a PNG in base64",
      got: quoted(image),
    }));
    const base64 = image.replace(/^data:[\w/+.-]*;base64,/, "");
    const texts = readText(Buffer.from(base64, "base64"), "image");
    return c.json({ info: texts.parameters ?? "", items: texts, parameters: {} });
  });
  return door;
}
