/** The API's description of itself: OpenAPI 3.1, its request bodies made from the one request schema. */

import { requestJsonSchema } from "../../pipeline/request.ts";
import { packageVersion } from "../cli/package.ts";
import { jobStates } from "./job.ts";
import type { Models } from "./models.ts";

type Json = Readonly<Record<string, unknown>>;

const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: Json): Json => ({ "application/json": { schema } });
const png: Json = { "image/png": { schema: { type: "string", contentEncoding: "binary" } } };
const list = (key: string, items: Json): Json =>
  json({ type: "object", properties: { [key]: { type: "array", items } }, required: [key] });
const bytes: Json = { "application/octet-stream": { schema: { type: "string", contentEncoding: "binary" } } };
const object: Json = json({ type: "object" });

interface Route {
  readonly path: string;
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  readonly summary: string;
  /** Status and content of success. */
  readonly ok: readonly [number, Json | null];
  readonly body?: Json;
  readonly query?: readonly (readonly [name: string, type: string])[];
  /** Statuses of errors beyond 400 and 401. */
  readonly errors?: readonly number[];
}

const route = (
  method: Route["method"],
  path: string,
  summary: string,
  ok: Route["ok"],
  more: Pick<Route, "body" | "query" | "errors"> = {},
): Route => ({ method, path, summary, ok, ...more });

const favourite: Json = json({
  type: "object",
  properties: { isFavourite: { type: "boolean" } },
  required: ["isFavourite"],
});

const isAwaited = { errors: [409, 413, 429] };

/** Every route of the server; a test compares it with what the app answers. */
export const routes: readonly Route[] = [
  route("post", "/api/jobs", "Accept a job; it outlives its client", [202, json(ref("Job"))], {
    body: json(ref("JobInput")),
    errors: [413, 429],
  }),
  route("get", "/api/jobs", "Jobs, newest first", [200, list("jobs", ref("Job"))], {
    query: [
      ["before", "integer"],
      ["limit", "integer"],
      ["search", "string"],
      ["state", "string"],
      ["favourite", "boolean"],
    ],
  }),
  route("get", "/api/jobs/{id}", "A job", [200, json(ref("Job"))], { errors: [404] }),
  route("patch", "/api/jobs/{id}", "Mark a job and its pictures as favourites", [200, json(ref("Job"))], {
    body: favourite,
    errors: [404],
  }),
  route("delete", "/api/jobs/{id}", "Remove a job that has ended, and its pictures", [204, null], {
    errors: [404, 409],
  }),
  route(
    "patch",
    "/api/jobs/{id}/pictures/{index}",
    "Mark one picture as a favourite",
    [200, json(ref("Job"))],
    { body: favourite, errors: [404] },
  ),
  route(
    "delete",
    "/api/jobs/{id}/pictures/{index}",
    "Remove one picture of a job that has ended; the job goes with its last one",
    [204, null],
    { errors: [404, 409] },
  ),
  route("get", "/api/jobs/{id}/result", "A job that has ended", [200, json(ref("Job"))], {
    errors: [404, 409],
  }),
  route("post", "/api/jobs/{id}/cancel", "End a job without a result", [200, json(ref("Job"))], {
    errors: [404, 409],
  }),
  route(
    "get",
    "/api/jobs/{id}/events",
    "Events state, stage, step, warning, preview, picture, end; Last-Event-ID goes on",
    [200, { "text/event-stream": { schema: { type: "string" } } }],
    { errors: [404] },
  ),
  route(
    "get",
    "/pictures/{id}/{file}",
    "A picture, or the image or mask that its job starts from; no token, its name cannot be guessed",
    [200, png],
    {
      errors: [404],
    },
  ),
  route("get", "/api/models", "The served models with their defaults", [200, list("models", ref("Model"))]),
  route("get", "/api/schema", "The request's fields, for a form", [200, object]),
  route("get", "/api/inspect/{model}", "Parameters by network, the U-Net by stage", [200, object], {
    errors: [404],
  }),
  route("get", "/api/structure/model/{model}", "A served model's U-Net by stage", [200, object], {
    errors: [404],
  }),
  route("get", "/api/structure/preset/{preset}", "A published model's U-Net by stage", [200, object], {
    errors: [404],
  }),
  route("post", "/api/times/{model}", "Seconds of each stage of the denoiser, measured", [200, object], {
    errors: [404, 429],
  }),
  route("post", "/api/explore", "Draw and look inside: attention maps, packed", [200, bytes], {
    body: json(ref("JobInput")),
    errors: [413, 429],
  }),
  route("post", "/api/png-info", "The request that a PNG records", [200, object], {
    body: png,
    errors: [413],
  }),
  route("get", "/api/settings", "What a page keeps for its user", [200, object]),
  route("put", "/api/settings", "Keep something for a user", [204, null], { body: object, errors: [413] }),
  route("get", "/api/runs", "Training runs", [200, list("runs", { type: "object" })]),
  route("get", "/api/runs/{run}", "A run's log and samples", [200, object], { errors: [404] }),
  route("get", "/api/runs/{run}/samples/{step}", "A sheet of samples", [200, png], { errors: [404] }),
  route("get", "/v1/models", "OpenAI: the served models", [200, object]),
  route("get", "/v1/models/{model}", "OpenAI: one of them", [200, object], { errors: [404] }),
  route("post", "/v1/images/generations", "OpenAI: draw; cancelled when the client goes", [200, object], {
    body: json(ref("OpenAIImageInput")),
    ...isAwaited,
  }),
  route(
    "post",
    "/v1/images/edits",
    "OpenAI: draw a picture over; cancelled when the client goes",
    [200, object],
    {
      body: { "multipart/form-data": { schema: ref("OpenAIEditInput") } },
      ...isAwaited,
    },
  ),
  route("post", "/sdapi/v1/txt2img", "A1111: draw; cancelled when the client goes", [200, object], {
    body: json(ref("Txt2ImgInput")),
    ...isAwaited,
  }),
  route(
    "post",
    "/sdapi/v1/img2img",
    "A1111: draw a picture over; cancelled when the client goes",
    [200, object],
    {
      body: json(ref("Img2ImgInput")),
      ...isAwaited,
    },
  ),
  route("get", "/sdapi/v1/progress", "A1111: how far the running job is", [200, object], {
    query: [["skip_current_image", "boolean"]],
  }),
  route("post", "/sdapi/v1/interrupt", "A1111: end what runs", [200, object]),
  route("get", "/sdapi/v1/samplers", "A1111: schedulers", [200, json({ type: "array" })]),
  route("get", "/sdapi/v1/schedulers", "A1111: schedule types", [200, json({ type: "array" })]),
  route("get", "/sdapi/v1/sd-models", "A1111: the served models", [200, json({ type: "array" })]),
  route("get", "/sdapi/v1/options", "A1111: the chosen model", [200, object]),
  route("post", "/sdapi/v1/options", "A1111: choose a model", [200, object], { body: object }),
  route("post", "/sdapi/v1/png-info", "A1111: the text of a PNG", [200, object], {
    body: json({ type: "object", properties: { image: { type: "string" } }, required: ["image"] }),
    errors: [413],
  }),
  route("get", "/healthz", "Whether the server lives; no token", [200, object]),
  route("get", "/metrics", "For Prometheus", [200, { "text/plain": { schema: { type: "string" } } }]),
  route("get", "/openapi.json", "This document", [200, object]),
];

const meanings: Readonly<Record<number, string>> = {
  400: "Wrong: the error says where, what was expected and what was found",
  401: "No token, or another one",
  404: "Not there",
  409: "Not in this state",
  413: "Too large",
  429: "The queue is full; Retry-After says when to try again",
};

function operation({
  path,
  method,
  summary,
  ok: [status, content],
  body,
  query = [],
  errors = [],
}: Route): Json {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: "path", required: true, schema: { type: "string" } },
  }));
  const inQuery = query.map(([name, type]) => ({ name, in: "query", schema: { type } }));
  const failures = [400, 401, ...errors].map((code) => [
    code,
    { description: meanings[code], content: json(ref("Error")) },
  ]);
  const success = { description: summary, ...(content === null ? {} : { content }) };
  return {
    summary,
    operationId: `${method}${path.replace(/[^A-Za-z0-9]+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`,
    parameters: [...inPath, ...inQuery],
    ...(body === undefined ? {} : { requestBody: { required: true, content: body } }),
    responses: { [status]: success, ...Object.fromEntries(failures) },
  };
}

const text: Json = { type: "string" };
const properties = (schema: Json): Record<string, Json> => schema.properties as Record<string, Json>;

function schemas(models: Models): Json {
  const { $schema: _, ...request } = requestJsonSchema();
  const fields = properties(request);
  const model = { type: "string", enum: models.all.map(({ name }) => name) };
  const { count, prompt, width: _width, height: _height, ...shared } = fields;
  const picture = {
    type: "object",
    properties: {
      ...{ index: { type: "integer" }, seed: fields.seed, url: text, isFavourite: { type: "boolean" } },
      ...{ residentBytes: { type: "number" }, nsfw: { type: "object" } },
    },
  };
  const base64 = { type: "string", contentEncoding: "base64" };
  const file = { type: "string", contentEncoding: "binary" };
  const openai = {
    ...{ prompt, model, n: count, size: { type: "string", examples: ["1024x1024", "auto"] } },
    response_format: { type: "string", enum: ["url", "b64_json"] },
    ...shared,
  };
  const a1111 = {
    ...{ prompt, negative_prompt: fields.negativePrompt, steps: fields.steps, cfg_scale: fields.guidance },
    ...{ width: fields.width, height: fields.height, seed: { type: "integer", minimum: -1 } },
    ...{ batch_size: count, n_iter: { type: "integer" }, sampler_name: text, scheduler: text },
  };
  const error = { code: text, field: text, expected: text, found: text, message: text, hint: text };
  return {
    Request: request,
    JobInput: { ...request, properties: { model, ...fields, image: base64, mask: base64 } },
    Job: {
      type: "object",
      properties: {
        ...{ id: text, model, request: ref("Request"), state: { type: "string", enum: jobStates } },
        ...{ isFavourite: { type: "boolean" }, position: { type: ["integer", "null"] } },
        ...{ created: { type: "integer" }, started: { type: ["integer", "null"] } },
        ...{ ended: { type: ["integer", "null"] }, error: { type: ["object", "null"] } },
        start: { type: ["object", "null"], properties: { image: text, mask: { type: ["string", "null"] } } },
        pictures: { type: "array", items: picture },
      },
    },
    Model: {
      type: "object",
      properties: {
        ...{ name: text, family: text, engine: text, defaults: { type: "object" } },
        precisions: { type: "array", items: fields.precision },
        ...{ unit: { type: "integer" }, isInpainting: { type: "boolean" } },
      },
    },
    OpenAIImageInput: { type: "object", required: ["prompt"], properties: openai },
    OpenAIEditInput: {
      type: "object",
      required: ["prompt", "image"],
      properties: { ...openai, image: file, mask: file },
    },
    Txt2ImgInput: { type: "object", properties: a1111 },
    Img2ImgInput: {
      type: "object",
      required: ["init_images"],
      properties: {
        ...a1111,
        init_images: { type: "array", items: base64, minItems: 1, maxItems: 1 },
        ...{ denoising_strength: fields.strength, mask: base64, mask_blur: { type: "number" } },
        inpainting_fill: { type: "integer", minimum: 0, maximum: 3 },
        ...{ inpaint_full_res: { type: "boolean" }, inpaint_full_res_padding: fields.paddingMaskCrop },
      },
    },
    Error: {
      type: "object",
      required: ["error"],
      properties: {
        error: {
          type: "object",
          properties: error,
          required: ["code", "field", "expected", "found", "message"],
        },
      },
    },
  };
}

export function openapiDocument(models: Models): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const one of routes) paths[one.path] = { ...paths[one.path], [one.method]: operation(one) };
  return {
    openapi: "3.1.0",
    info: { title: "koala-diffusion", version: packageVersion(), license: { name: "Apache-2.0" } },
    paths,
    security: [{ bearer: [] }],
    components: {
      schemas: schemas(models),
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
    },
  };
}
