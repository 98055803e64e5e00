/** The server as a function from Request to Response: who may ask, how much, and which door leads where. */

import { Hono } from "hono";
import { KoalaError } from "../../core/errors.ts";
import { convertPng, pictureFormat } from "../image-file.ts";
import { a1111Door } from "./a1111.ts";
import { access, type Env } from "./access.ts";
import { apiDoor } from "./api.ts";
import { startNames } from "./job.ts";
import { openaiDoor } from "./openai.ts";
import { openapiDocument } from "./openapi.ts";
import type { ServerParts } from "./parts.ts";
import { errorReply, isClientFault } from "./reply.ts";

const corsMethods = "GET, POST, PUT, PATCH, DELETE";
const corsHeaders = "Authorization, Content-Type, Last-Event-ID";

export function createApp(parts: ServerParts): Hono<Env> {
  const { jobs, store, meters, log } = parts;
  const app = new Hono<Env>();

  app.onError((thrown, c) => {
    const isOurs = !(thrown instanceof KoalaError && isClientFault(thrown));
    if (isOurs) log.error({ err: thrown, path: c.req.path }, "request failed");
    return errorReply(c, thrown, jobs.retryAfterSeconds());
  });
  app.notFound((c) => {
    const got = `${c.req.method} ${c.req.path.slice(0, 80)}`;
    const data = { where: "path", expected: "one that /openapi.json lists", got };
    return errorReply(c, new KoalaError("E_NOT_FOUND", data), 0);
  });

  app.use(async (c, next) => {
    const startMs = performance.now();
    await next();
    const seconds = (performance.now() - startMs) / 1000;
    const { status } = c.res;
    const named = c.req.matchedRoutes.find(({ path }) => !path.includes("*"));
    const route = named?.path ?? "other"; // a label for every path that someone tries would fill the memory
    meters.httpSeconds.observe({ method: c.req.method, route, status: String(status) }, seconds);
    log.debug({ method: c.req.method, route, status, seconds }, "request");
    c.header("X-Content-Type-Options", "nosniff");
    c.header("X-Frame-Options", "DENY");
    c.header("Referrer-Policy", "no-referrer");
  });
  app.use(async (c, next) => {
    const origin = c.req.header("origin");
    const isAllowed = origin !== undefined && parts.access.origins.includes(origin);
    if (isAllowed && c.req.method === "OPTIONS") {
      c.header("Access-Control-Allow-Methods", corsMethods);
      c.header("Access-Control-Allow-Headers", corsHeaders);
    }
    if (isAllowed) {
      c.header("Access-Control-Allow-Origin", origin);
      c.header("Vary", "Origin");
      if (c.req.method === "OPTIONS") return c.body(null, 204); // a preflight carries no token
    }
    return next();
  });
  app.use(access(parts.access));

  app.get("/healthz", (c) => c.json({ status: "ok", models: parts.models.all.map(({ name }) => name) }));
  app.get("/metrics", async (c) =>
    c.body(await meters.registry.metrics(), 200, { "Content-Type": meters.registry.contentType }),
  );
  app.get("/openapi.json", (c) => c.json(openapiDocument(parts.models)));
  app.get("/pictures/:id/:file{(?:[0-9]+|image|mask)\\.(?:png|jpg|webp)}", async (c) => {
    const { id, file } = c.req.param();
    const [name = ""] = file.split(".");
    const start = startNames.find((one) => one === name);
    const png = start === undefined ? await store.picture(id, Number(name)) : store.startOf(id)?.[start];
    if (png === undefined || png === null) return c.notFound();
    const format = pictureFormat(file);
    return c.body(format === "png" ? png : await convertPng(png, format), 200, {
      "Content-Type": `image/${format}`,
      "Cache-Control": "private, max-age=31536000, immutable", // its name is never another's
    });
  });
  app.route("/api", apiDoor(parts));
  app.route("/v1", openaiDoor(parts));
  app.route("/sdapi/v1", a1111Door(parts));
  app.get("*", (c) => {
    const page = parts.page(c.req.path);
    if (page === null) return c.notFound();
    return c.body(page.bytes, 200, { "Content-Type": page.type, "Cache-Control": page.caching });
  });
  return app;
}
