/**
 * OpenAI's images API. Source: platform.openai.com/docs/api-reference/images/create and createEdit. Fields of our own request
 * (seed, steps, guidance …) are understood beside OpenAI's.
 */

import { type Context, Hono } from "hono";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { quoted } from "../../core/quoted.ts";
import type { Start } from "../../pipeline/start.ts";
import type { PictureFormat } from "../image-file.ts";
import type { NsfwVerdict } from "../nsfw/policy.ts";
import type { Env } from "./access.ts";
import { awaitJob, filesOf, inBase64 } from "./await-job.ts";
import { type JsonObject, readJsonObject } from "./body.ts";
import { type JobPicture, picturePath } from "./job.ts";
import { readEdit } from "./openai-edit.ts";
import type { ServerParts } from "./parts.ts";

/** OpenAI's names for fields of ours. */
const names: Readonly<Record<string, string>> = { count: "n", width: "size", height: "size" };
const nameOf = (key: string): string => names[key] ?? key;

/** Fields that say how OpenAI's own models work; ours draw the same whatever they say. */
const ignored = ["quality", "style", "user", "moderation", "output_compression", "partial_images"];

/** Values that we cannot follow are refused rather than passed over. */
const only: Readonly<Record<string, readonly unknown[]>> = {
  stream: [false],
  background: ["auto", "opaque"],
  output_format: ["png", "jpeg", "webp"],
  response_format: ["url", "b64_json"],
};

/** OpenAI's models that give base64 where no response_format is named; they know no addresses. */
const inlineModels = /^(gpt-image-|chatgpt-image-latest$)/;

/** @throws KoalaError E_REQUEST */
function sizeOf(size: unknown): { width?: number; height?: number } {
  if (size === undefined || size === null || size === "auto") return {};
  const [, width, height] = (typeof size === "string" && /^(\d{1,5})x(\d{1,5})$/.exec(size)) || [];
  if (width !== undefined) return { width: Number(width), height: Number(height) };
  throw new KoalaError("E_REQUEST", {
    where: "size",
    expected: "WIDTHxHEIGHT (px) or auto",
    got: quoted(size),
  });
}

/** The request and where the answer's pictures go. @throws KoalaError E_REQUEST */
function read(body: JsonObject): {
  readonly model: unknown;
  readonly input: JsonObject;
  readonly isUrl: boolean;
  readonly format: PictureFormat;
} {
  for (const [field, values] of Object.entries(only)) {
    const value = body[field];
    check(value === undefined || value === null || values.includes(value), "E_REQUEST", () => ({
      where: field,
      expected: values.length === 1 ? JSON.stringify(values[0]) : `one of ${values.join(", ")}`,
      got: quoted(value),
    }));
  }
  const { model, n, size, response_format: where, output_format: format, ...rest } = body;
  const input = Object.fromEntries(
    Object.entries(rest).filter(([key]) => !ignored.includes(key) && only[key] === undefined),
  );
  return {
    model,
    input: { ...input, ...sizeOf(size), ...(n === undefined || n === null ? {} : { count: n }) },
    isUrl: (where ?? (typeof model === "string" && inlineModels.test(model) ? "b64_json" : "url")) === "url",
    format: (format ?? "png") as PictureFormat,
  };
}

/** Beside OpenAI's own fields, where pictures are checked. */
const nsfwOf = (picture: JobPicture | undefined): { nsfw?: NsfwVerdict } =>
  picture?.nsfw === undefined ? {} : { nsfw: picture.nsfw };

export function openaiDoor(parts: ServerParts): Hono<Env> {
  const { models } = parts;
  const door = new Hono<Env>();
  const seconds = (ms: number): number => Math.floor(ms / 1000);
  const started = seconds(Date.now());
  const view = (id: string) => ({ id, object: "model", created: started, owned_by: "koala" });

  door.get("/models", (c) => c.json({ object: "list", data: models.all.map(({ name }) => view(name)) }));
  door.get("/models/:model{.+}", (c) => c.json(view(models.found(c.req.param("model")).name)));

  door.post("/images/generations", async (c) => draw(c, await readJsonObject(c), {}));

  door.post("/images/edits", async (c) => {
    const { body, start } = await readEdit(c);
    return draw(c, body, start);
  });

  async function draw(c: Context<Env>, body: JsonObject, start: Start): Promise<Response> {
    const { model: name, input, isUrl, format } = read(body);
    const model = models.named(name);
    const accepted = await models.acceptStarted(model, input, start, { fieldOf: nameOf });
    const job = await awaitJob(c, parts, model.name, accepted);
    check(job.state === "done", "E_CONFLICT", () => ({
      where: `job ${job.id}`,
      expected: "to be drawn",
      got: "cancelled",
    }));
    const created = seconds(job.created);
    if (!isUrl) {
      const files = await filesOf(parts, job);
      return c.json({
        created,
        data: (await inBase64(files, format)).map((b64_json, i) => ({ b64_json, ...nsfwOf(files[i]) })),
      });
    }
    return c.json({
      created,
      data: job.pictures.map((its) => ({
        url: `${c.var.origin}${picturePath(job.id, its.index, format)}`,
        ...nsfwOf(its),
      })),
    });
  }
  return door;
}
