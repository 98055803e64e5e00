/** Our own door, `/api`: jobs that outlive their client, their events, models, pictures' settings, training runs. */

import { type Context, Hono } from "hono";
import { pack } from "../../analyze/packed.ts";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { quoted } from "../../core/quoted.ts";
import { presetNames } from "../../models/presets.ts";
import { requestFields, requestJsonSchema } from "../../pipeline/request.ts";
import { readPictureText } from "../../pipeline/request-text.ts";
import { presetStructure } from "../../pipeline/structure.ts";
import { readText } from "../png-text.ts";
import type { Env } from "./access.ts";
import {
  jsonBytes,
  pictureBytes,
  queryNumber,
  readBody,
  readJsonObject,
  readObjectWithPictures,
} from "./body.ts";
import { isOver, type Job, jobStates } from "./job.ts";
import type { ServedModel } from "./models.ts";
import type { ServerParts } from "./parts.ts";
import { listRuns, readRun, runSample } from "./runs.ts";
import { streamJob } from "./sse.ts";
import { startFrom } from "./start-pictures.ts";

/** Jobs on one page of a list. */
const usualPage = 50;
const largestPage = 500;

const modelView = ({ name, family, engine, defaults, precisions, unit, isInpainting }: ServedModel) => ({
  ...{ name, family, engine, defaults, precisions, unit, isInpainting },
});

export function apiDoor({ jobs, store, models, inspector, runs }: ServerParts): Hono<Env> {
  const door = new Hono<Env>();

  /** The job of the path, if it is the asker's. @throws KoalaError E_NOT_FOUND */
  function jobOf(c: Context<Env>): Job {
    const id = c.req.param("id") ?? "";
    const job = store.get(id);
    if (job !== null && job.owner === c.var.asker.owner) return job;
    throw new KoalaError("E_NOT_FOUND", {
      where: "job",
      expected: "the id of a job that is there",
      got: JSON.stringify(id.slice(0, 80)),
    });
  }

  door.post("/jobs", async (c) => {
    const { model: name, image, mask, ...input } = await readObjectWithPictures(c, ["image", "mask"]);
    const model = models.named(name);
    const accepted = await models.acceptStarted(model, input, await startFrom(image, mask));
    const job = jobs.create({ ...c.var.asker, isAwaited: false, model: model.name, ...accepted });
    c.header("Location", `/api/jobs/${job.id}`);
    return c.json(jobs.view(job), 202);
  });

  door.get("/jobs", (c) => {
    const state = c.req.query("state");
    check(state === undefined || (jobStates as readonly string[]).includes(state), "E_REQUEST", () => ({
      where: "state",
      expected: `one of ${jobStates.join(", ")}`,
      got: JSON.stringify(state?.slice(0, 80)),
    }));
    const favourite = c.req.query("favourite");
    const found = store.list({
      owner: c.var.asker.owner,
      before: queryNumber(c, "before", 0, Number.MAX_SAFE_INTEGER),
      limit: queryNumber(c, "limit", 1, largestPage) ?? usualPage,
      search: c.req.query("search")?.slice(0, 200),
      state: state as Job["state"] | undefined,
      isFavourite: favourite === undefined ? undefined : favourite === "true",
    });
    return c.json({ jobs: found.map((job) => jobs.view(job)) });
  });

  door.get("/jobs/:id", (c) => c.json(jobs.view(jobOf(c))));

  /** The job once it has ended; before, a conflict and not a wait. */
  door.get("/jobs/:id/result", async (c) => {
    const job = jobOf(c);
    check(isOver(job.state), "E_CONFLICT", () => ({
      where: `job ${job.id}`,
      expected: "a job that has ended",
      got: job.state,
      hint: `/api/jobs/${job.id}/events tells when it has.`,
    }));
    return c.json(jobs.view(job));
  });

  door.post("/jobs/:id/cancel", (c) => {
    const job = jobOf(c);
    jobs.cancel(job);
    return c.json(jobs.view(jobOf(c)));
  });

  /** The mark that a body sets. @throws KoalaError E_REQUEST */
  async function favouriteOf(c: Context<Env>): Promise<boolean> {
    const { isFavourite, ...rest } = await readJsonObject(c);
    check(typeof isFavourite === "boolean" && Object.keys(rest).length === 0, "E_REQUEST", () => ({
      where: "isFavourite",
      expected: "true or false, and nothing else",
      got: quoted({ isFavourite, ...rest }),
    }));
    return isFavourite;
  }

  /** The job of the path, that nothing is added to any more. @throws KoalaError E_NOT_FOUND, E_CONFLICT */
  function overOf(c: Context<Env>): Job {
    const job = jobOf(c);
    check(isOver(job.state), "E_CONFLICT", () => ({
      where: `job ${job.id}`,
      expected: "a job that has ended",
      got: job.state,
      hint: `POST /api/jobs/${job.id}/cancel ends it.`,
    }));
    return job;
  }

  /** @throws KoalaError E_NOT_FOUND */
  function checkPicture(isThere: boolean, c: Context<Env>): void {
    check(isThere, "E_NOT_FOUND", () => ({
      where: "picture",
      expected: "the index of a picture of the job",
      got: (c.req.param("index") ?? "").slice(0, 80),
    }));
  }

  door.patch("/jobs/:id", async (c) => {
    const job = jobOf(c);
    store.setFavourite(job.id, await favouriteOf(c));
    return c.json(jobs.view(jobOf(c)));
  });

  door.delete("/jobs/:id", async (c) => {
    await store.remove(overOf(c));
    return c.body(null, 204);
  });

  door.patch("/jobs/:id/pictures/:index{[0-9]+}", async (c) => {
    const job = jobOf(c);
    const isFavourite = await favouriteOf(c);
    checkPicture(store.setPictureFavourite(job.id, Number(c.req.param("index")), isFavourite), c);
    return c.json(jobs.view(jobOf(c)));
  });

  door.delete("/jobs/:id/pictures/:index{[0-9]+}", async (c) => {
    const job = overOf(c);
    checkPicture(await store.removePicture(job.id, Number(c.req.param("index"))), c);
    return c.body(null, 204);
  });

  door.get("/jobs/:id/events", (c) => {
    const job = jobOf(c);
    return streamJob(c, jobs.view(job), jobs.logFor(job.id));
  });

  door.get("/models", (c) => c.json({ models: models.all.map(modelView) }));

  door.get("/schema", (c) =>
    c.json({
      fields: requestFields(),
      schema: requestJsonSchema(),
      limits: models.limits,
      models: models.all.map(modelView),
    }),
  );

  /** The model of the path. @throws KoalaError E_NOT_FOUND */
  function modelOf(c: Context<Env>): ServedModel {
    return models.found(c.req.param("model") ?? "");
  }

  door.get("/inspect/:model{.+}", async (c) => c.json(await modelOf(c).facts()));
  door.get("/structure/model/:model{.+}", async (c) => c.json(await modelOf(c).structure()));
  door.get("/structure/preset/:preset", (c) => {
    const name = c.req.param("preset");
    check((presetNames as readonly string[]).includes(name), "E_NOT_FOUND", () => ({
      where: "preset",
      expected: `one of ${presetNames.join(", ")}`,
      got: JSON.stringify(name.slice(0, 80)),
    }));
    return c.json(presetStructure(name));
  });
  door.post("/times/:model{.+}", async (c) =>
    c.json({ stages: await inspector.times(modelOf(c).name, c.req.raw.signal) }),
  );
  door.post("/explore", async (c) => {
    const { model: name, ...input } = await readJsonObject(c);
    const model = models.named(name);
    check(!model.isInpainting, "E_MODEL", () => ({
      where: model.name,
      expected: "a model that draws from noise, to look inside",
      got: "one for inpainting, which draws a part of a picture",
    }));
    const request = models.accept(model, input);
    const found = await inspector.explore(model.name, request, c.req.raw.signal);
    return c.body(pack(found), 200, { "Content-Type": "application/octet-stream" });
  });

  /** The body is the PNG itself. */
  door.post("/png-info", async (c) => {
    const texts = readText(await readBody(c, pictureBytes), "picture");
    return c.json({ ...readPictureText(texts, "picture"), parameters: texts.parameters ?? null });
  });

  door.get("/settings", (c) => c.json(store.settings(c.var.asker.owner) as Record<string, unknown>));
  door.put("/settings", async (c) => {
    store.saveSettings(c.var.asker.owner, await readJsonObject(c, jsonBytes));
    return c.body(null, 204);
  });

  door.get("/runs", async (c) => c.json({ runs: await listRuns(runs) }));
  door.get("/runs/:run", async (c) => c.json(await readRun(runs, c.req.param("run"))));
  door.get("/runs/:run/samples/:step{[0-9]+}", async (c) => {
    const { run, step } = c.req.param();
    return c.body(await runSample(runs, run, Number(step)), 200, { "Content-Type": "image/png" });
  });
  return door;
}
