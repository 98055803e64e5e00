import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { dies, fakePng, gate } from "../../../test/fake-crew.ts";
import { accepted, eventsOf, says, scenes } from "../../../test/server-scene.ts";
import { createApp } from "./app.ts";
import type { JobView } from "./job.ts";
import { routes } from "./openapi.ts";
import type { ServerParts } from "./parts.ts";

const scene = scenes();

describe("/api/jobs", () => {
  it("accepts a job, draws it and keeps its pictures", async () => {
    const s = await scene();
    const response = await s.ask("POST", "/api/jobs", { prompt: "apple", seed: 7, count: 2 });
    const job = (await response.json()) as JobView;
    expect([response.status, response.headers.get("location")]).toEqual([202, `/api/jobs/${job.id}`]);
    expect(job).toMatchObject({ state: "waiting", position: 0, request: { seed: 7, steps: 4, width: 16 } });
    await s.jobs.ended(job.id);
    const done = (await (await s.ask("GET", `/api/jobs/${job.id}/result`)).json()) as JobView;
    expect(done).toMatchObject({ state: "done", error: null, pictures: [{ seed: 7 }, { seed: 8 }] });
    const picture = await s.ask("GET", done.pictures[1]?.url ?? "");
    expect(picture.headers.get("content-type")).toBe("image/png");
    expect(new Uint8Array(await picture.arrayBuffer())).toEqual(fakePng(8));
  });

  it("streams what happens, and goes on after Last-Event-ID", async () => {
    const s = await scene();
    const job = await accepted(s, { prompt: "apple", seed: 1 });
    await s.jobs.ended(job.id);
    const all = await eventsOf(await s.ask("GET", `/api/jobs/${job.id}/events`));
    expect(all.map(({ name }) => name)).toEqual(["state", "stage", "step", "picture", "end"]);
    const stage = all.find(({ name }) => name === "step")?.id ?? "";
    const rest = await eventsOf(
      await s.ask("GET", `/api/jobs/${job.id}/events`, undefined, { "last-event-id": stage }),
    );
    expect(rest.map(({ name }) => name)).toEqual(["picture", "end"]);
    const other = await eventsOf(
      await s.ask("GET", `/api/jobs/${job.id}/events`, undefined, { "last-event-id": "before-9" }),
    );
    expect(other).toEqual(all); // the id of another server: from the beginning
  });

  it("draws in a precision that the model has here, and refuses others", async () => {
    const s = await scene();
    const job = await accepted(s, { prompt: "apple", precision: "int4" });
    expect(job.request.precision).toBe("int4");
    expect(await says(await s.ask("POST", "/api/jobs", { prompt: "apple", precision: "int8" }))).toEqual([
      400,
      "precision: expected one that this server offers for koala-emoji: f32, int4, got int8 [E_REQUEST]",
    ]);
    const { models } = (await (await s.ask("GET", "/api/models")).json()) as {
      models: { precisions: string[] }[];
    };
    expect(models[0]?.precisions).toEqual(["f32", "int4"]);
  });

  it("shows the newest preview while it draws", async () => {
    const s = await scene();
    const { wait, open } = gate();
    s.crew.before = wait;
    const job = await accepted(s, { prompt: "apple" });
    const stream = (await s.ask("GET", `/api/jobs/${job.id}/events`)).body?.getReader();
    let text = "";
    while (!text.includes("event: preview")) {
      const { value } = (await stream?.read()) ?? {};
      text += new TextDecoder().decode(value);
    }
    expect(text).toContain(`"png":"${Buffer.from(fakePng(0)).toString("base64")}"`);
    open();
    await stream?.cancel();
  });

  it("lists the newest first, by prompt, state and favourites", async () => {
    const s = await scene();
    for (const prompt of ["red apple", "Green pear", "red rose"]) {
      const job = await accepted(s, { prompt });
      await s.jobs.ended(job.id);
      if (prompt === "Green pear") await s.ask("PATCH", `/api/jobs/${job.id}`, { isFavourite: true });
    }
    const prompts = async (query: string): Promise<string[]> =>
      ((await (await s.ask("GET", `/api/jobs${query}`)).json()) as { jobs: JobView[] }).jobs.map(
        ({ request }) => request.prompt,
      );
    expect(await prompts("")).toEqual(["red rose", "Green pear", "red apple"]);
    expect(await prompts("?search=RED&limit=1")).toEqual(["red rose"]);
    expect(await prompts("?favourite=true")).toEqual(["Green pear"]);
    expect(await prompts("?state=waiting")).toEqual([]);
  });

  it("cancels a job that waits and one that runs; neither has a result", async () => {
    const s = await scene();
    s.crew.before = gate().wait;
    const running = await accepted(s, { prompt: "one" });
    const waiting = await accepted(s, { prompt: "two" });
    for (const { id } of [waiting, running]) {
      const response = await s.ask("POST", `/api/jobs/${id}/cancel`);
      expect(await response.json()).toMatchObject({ state: "cancelled", pictures: [], position: null });
    }
    expect(s.crew.drawn).toEqual([]);
    expect(await says(await s.ask("POST", `/api/jobs/${running.id}/cancel`))).toEqual([
      409,
      `job ${running.id}: expected a job that waits or runs, got cancelled [E_CONFLICT]`,
    ]);
    expect((await s.ask("DELETE", `/api/jobs/${running.id}`)).status).toBe(204);
    expect((await s.ask("GET", `/api/jobs/${running.id}`)).status).toBe(404);
  });

  it("is back after a crash with what waited and what ran, and draws each once", async () => {
    const s = await scene();
    s.crew.before = gate().wait;
    const jobs = [await accepted(s, { prompt: "one" }), await accepted(s, { prompt: "two" })];
    void s.ask("POST", "/v1/images/generations", { prompt: "awaited" }); // its client goes with the server
    await new Promise((resolve) => setTimeout(resolve, 20));
    const folder = join(s.folder, "..", `${basename(s.folder)}-after`);
    cpSync(s.folder, folder, { recursive: true }); // the disk as a crash leaves it
    const next = await scene({ folder });
    next.jobs.resume();
    for (const { id } of jobs) expect(await next.jobs.ended(id)).toMatchObject({ state: "done" });
    expect(next.crew.drawn).toEqual(["one", "two"]);
    const { jobs: listed } = (await (await next.ask("GET", "/api/jobs")).json()) as { jobs: JobView[] };
    expect(listed.map(({ state }) => state)).toEqual(["cancelled", "done", "done"]);
    expect(listed.at(-1)?.request.seed).toBe(jobs[0]?.request.seed);
  });

  it("tries a job again whose engine died, three times", async () => {
    const s = await scene();
    let deaths = 0;
    s.crew.before = async () => {
      if (deaths++ < 2) await dies();
    };
    expect(await s.jobs.ended((await accepted(s, { prompt: "a" })).id)).toMatchObject({ state: "done" });
    s.crew.before = dies;
    expect(await s.jobs.ended((await accepted(s, { prompt: "b" })).id)).toMatchObject({
      state: "failed",
      error: {
        message: "the process that draws: expected to live until its picture is done, got SIGKILL [E_ENGINE]",
      },
    });
  });

  it("is fair among clients, bounded, and says when to come back", async () => {
    const s = await scene({ access: { tokens: ["ann", "bob"] }, capacity: 3 });
    const { wait, open } = gate();
    s.crew.before = wait;
    const as = (token: string) => ({ authorization: `Bearer ${token}` });
    const first = await accepted(s, { prompt: "first" }, as("ann"));
    await new Promise((resolve) => setTimeout(resolve, 20)); // it runs
    await accepted(s, { prompt: "ann 1" }, as("ann"));
    const last = await accepted(s, { prompt: "ann 2" }, as("ann"));
    await accepted(s, { prompt: "bob 1" }, as("bob"));
    const full = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "x" }, as("bob"));
    expect(full.headers.get("retry-after")).toBe("1");
    expect(await says(full)).toEqual([
      429,
      "queue: expected at most 3 waiting jobs, got one more [E_BUSY]\nTry again in 1 s.",
    ]);
    expect((await s.ask("GET", `/api/jobs/${first.id}`, undefined, as("bob"))).status).toBe(404);
    open();
    await s.jobs.ended(last.id);
    expect(s.crew.drawn).toEqual(["first", "ann 1", "bob 1", "ann 2"]);
  });
});

describe("every door", () => {
  const doors = [
    ["/api/jobs", {}],
    ["/v1/images/generations", { count: "n" }],
    ["/sdapi/v1/txt2img", { guidance: "cfg_scale", negativePrompt: "negative_prompt", count: "batch_size" }],
  ] as const;
  const mistakes = [
    ["steps", 0, "expected a whole number from 1 to 1000, got 0 [E_REQUEST]"],
    ["steps", 151, "expected at most 150 on this server, got 151 [E_REQUEST]"],
    ["guidance", "strong", 'expected a number from 0 to 50, got "strong" [E_REQUEST]'],
    ["seed", -2, "expected a whole number from 0 to 4294967295, got -2 [E_REQUEST]"],
    ["count", 17, "expected at most 16 on this server, got 17 [E_REQUEST]"],
    ["negativePrompt", 5, "expected text of at most 10000 characters, got 5 [E_REQUEST]"],
    [
      "prompt",
      "x".repeat(10_001),
      `expected text of at most 10000 characters, got "${"x".repeat(78)}… [E_REQUEST]`,
    ],
  ] as const;
  it.each(doors)("%s says the same of the same mistake", async (path, names: Record<string, string>) => {
    const s = await scene();
    for (const [key, value, sentence] of mistakes) {
      const field = names[key] ?? key;
      const response = await s.ask("POST", path, { prompt: "a", [field]: value });
      expect(await says(response)).toEqual([400, `${field}: ${sentence}`]);
    }
  });

  it("has an error of five parts", async () => {
    const s = await scene();
    const response = await s.ask("POST", "/api/jobs", { prompt: "a", width: 12 });
    expect(await response.json()).toEqual({
      error: {
        code: "E_REQUEST",
        field: "width",
        expected: "a multiple of 8 from 8 to 4096 (px)",
        found: "12",
        message: "width: expected a multiple of 8 from 8 to 4096 (px), got 12 [E_REQUEST]",
      },
    });
  });

  it.each([
    ["/api/jobs", "{", 400, "body: expected a JSON object, got something else [E_REQUEST]"],
    ["/api/jobs", "[1]", 400, "body: expected a JSON object, got [1] [E_REQUEST]"],
    [
      "/api/jobs",
      { prompt: "a", model: "../../etc" },
      400,
      'model: expected one of koala-emoji, other/model, got "../../etc" [E_MODEL]',
    ],
    [
      "/api/jobs",
      { prompt: "a", model: "koala-emoij" },
      400,
      'model: expected one of koala-emoji, other/model, got "koala-emoij" [E_MODEL]\nDid you mean koala-emoji?',
    ],
    [
      "/v1/images/generations",
      { prompt: "a", size: "big" },
      400,
      'size: expected WIDTHxHEIGHT (px) or auto, got "big" [E_REQUEST]',
    ],
    [
      "/v1/images/generations",
      { prompt: "a", size: "4096x4096" },
      400,
      "size: expected at most 2048 (px) on this server, got 4096 [E_REQUEST]",
    ],
    [
      "/v1/images/generations",
      { prompt: "a", stream: true },
      400,
      "stream: expected false, got true [E_REQUEST]",
    ],
    [
      "/sdapi/v1/txt2img",
      { prompt: "a", sampler_name: "LMS" },
      400,
      'sampler_name: expected one of Euler, Euler a, Heun, DDIM, PLMS, DPM++ 2M, DPM++ 2M SDE, DPM++ 3M, UniPC, LCM, TCD, got "LMS" [E_REQUEST]',
    ],
    [
      "/sdapi/v1/txt2img",
      { prompt: "a", enable_hr: true },
      400,
      "enable_hr: expected false, got true [E_REQUEST]",
    ],
    [
      "/sdapi/v1/options",
      { CLIP_stop_at_last_layers: 0 },
      400,
      "CLIP_stop_at_last_layers: expected a whole number from 1 to 12, got 0 [E_REQUEST]",
    ],
    [
      "/sdapi/v1/png-info",
      { image: "AAAA" },
      400,
      "image: expected a PNG, JPEG or WebP picture, got a file that does not begin like one [E_IMAGE]",
    ],
    [
      "/api/png-info",
      "x",
      400,
      "picture: expected a PNG, JPEG or WebP picture, got a file that does not begin like one [E_IMAGE]",
    ],
    ["/nowhere", {}, 404, "path: expected one that /openapi.json lists, got POST /nowhere [E_NOT_FOUND]"],
  ] as const)("POST %s %o is refused", async (path, body, status, sentence) => {
    const s = await scene();
    expect(await says(await s.ask("POST", path, body))).toEqual([status, sentence]);
  });

  it.each([
    ["POST", "/api/jobs", "prompt", 400],
    ["POST", "/v1/images/generations", "size", 400],
    ["POST", "/sdapi/v1/txt2img", "prompt", 400],
    ["POST", "/sdapi/v1/txt2img", "a field that nobody reads and the answer repeats", 200],
    ["PUT", "/api/settings", "anything", 204],
  ])("%s %s refuses arrays in arrays without end as %s", async (method, path, field, shallow) => {
    const s = await scene();
    const ask = (levels: number): Promise<Response> => {
      const arrays = `${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}`; // in one object
      return s.ask(method, path, `{"prompt": "a", ${JSON.stringify(field)}: ${arrays}}`);
    };
    for (const levels of [101, 120_000])
      expect(await says(await ask(levels))).toEqual([
        400,
        "body: expected a JSON object of at most 100 levels, got more [E_REQUEST]",
      ]);
    expect((await ask(100)).status).toBe(shallow);
  });

  it("refuses a body that is too large", async () => {
    const s = await scene();
    expect(await says(await s.ask("POST", "/api/jobs", "x".repeat(600_000)))).toEqual([
      413,
      "body: expected at most 524288 bytes, got more [E_TOO_LARGE]",
    ]);
  });

  it.each([
    ["/api/jobs/nothing", 'job: expected the id of a job that is there, got "nothing" [E_NOT_FOUND]'],
    [
      "/api/inspect/..%2F..%2Fetc",
      'model: expected one of koala-emoji, other/model, got "../../etc" [E_NOT_FOUND]',
    ],
    ["/v1/models/gpt", 'model: expected one of koala-emoji, other/model, got "gpt" [E_NOT_FOUND]'],
    [
      "/api/runs/a",
      'run: expected a server that shows runs, got "a" [E_NOT_FOUND]\nkoala serve --runs DIR shows the runs in a folder.',
    ],
    [
      "/pictures/..%2F..%2Fkoala.db/0.png",
      "path: expected one that /openapi.json lists, got GET /pictures/..%2F..%2Fkoala.db/0.png [E_NOT_FOUND]",
    ],
    ["/..%2Fkoala.db", "path: expected one that /openapi.json lists, got GET /..%2Fkoala.db [E_NOT_FOUND]"],
  ])("GET %s finds nothing", async (path, sentence) => {
    const s = await scene();
    expect(await says(await s.ask("GET", path))).toEqual([404, sentence]);
  });
});

describe("access", () => {
  it("refuses names that are not the server's, and other pages' requests", async () => {
    const s = await scene({ access: { names: ["koala.example"] } });
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await s.ask("GET", "/api/models", undefined, headers)).status;
    expect(await status({ host: "127.0.0.1:7700" })).toBe(200);
    expect(await status({ host: "[::1]:7700" })).toBe(200);
    expect(await status({ host: "koala.example" })).toBe(200);
    expect(await status({ host: "10.0.0.1" })).toBe(403);
    expect(await status({ host: "localhost.evil.example" })).toBe(403);
    expect(await status({ host: "localhost", origin: "http://localhost" })).toBe(200);
    expect(
      await says(await s.ask("GET", "/api/models", undefined, { origin: "https://evil.example" })),
    ).toEqual([
      403,
      'Origin: expected this server\'s own page, got "https://evil.example" [E_HOST]\nkoala serve --cors ORIGIN allows another.',
    ]);
    expect(await says(await s.ask("GET", "/", undefined, { host: "evil.example" }))).toEqual([
      403,
      'Host: expected a name of this server, got "evil.example" [E_HOST]\nkoala serve --allow-host NAME adds one.',
    ]);
  });

  it("sends no CORS headers unless that origin was allowed", async () => {
    const s = await scene({ access: { origins: ["https://friend.example"], tokens: ["t"] } });
    const preflight = await s.ask("OPTIONS", "/api/jobs", undefined, { origin: "https://friend.example" });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([
      204,
      "https://friend.example",
    ]);
    const own = await s.ask("GET", "/healthz");
    expect(own.headers.get("access-control-allow-origin")).toBeNull();
    expect((await s.ask("GET", "/healthz", undefined, { origin: "https://evil.example" })).status).toBe(403);
  });

  it("asks for a token: bearer, basic or the page's cookie", async () => {
    const s = await scene({ access: { tokens: ["secret"] } });
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await s.ask("GET", "/api/models", undefined, headers)).status;
    expect(await says(await s.ask("GET", "/metrics"))).toEqual([
      401,
      "Authorization: expected Bearer and a token of this server, got none [E_ACCESS]\nOpen /?token=SECRET once.",
    ]);
    expect(await status({ authorization: "Bearer wrong" })).toBe(401);
    expect(await status({ authorization: "Bearer secret" })).toBe(200);
    expect(await status({ authorization: `Basic ${btoa("me:secret")}` })).toBe(200);
    expect((await s.ask("GET", "/healthz")).status).toBe(200);
    const page = await s.ask("GET", "/?token=secret");
    expect([page.status, page.headers.get("location")]).toEqual([302, "/"]);
    const cookie = page.headers.get("set-cookie") ?? "";
    expect(cookie).toBe("koala_token=secret; Max-Age=34560000; Path=/; HttpOnly; SameSite=Strict");
    expect(await status({ cookie: cookie.split(";")[0] ?? "" })).toBe(200);
  });
});

describe("other paths", () => {
  it("describe every route in OpenAPI, and no other", async () => {
    const s = await scene();
    const { openapi, paths, components } = (await (await s.ask("GET", "/openapi.json")).json()) as {
      openapi: string;
      paths: Record<string, Record<string, unknown>>;
      components: { schemas: Record<string, { properties: Record<string, unknown> }> };
    };
    expect(openapi).toBe("3.1.0");
    expect(components.schemas.JobInput?.properties.steps).toMatchObject({ minimum: 1, maximum: 1000 });
    const told = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item).map((m) => `${m} ${path}`),
    );
    const app = createApp({
      access: { host: "127.0.0.1", names: [], tokens: [], origins: [] },
    } as unknown as ServerParts);
    const real = app.routes
      .filter(({ method, path }) => method !== "ALL" && !path.includes("*"))
      .map(
        ({ method, path }) => `${method.toLowerCase()} ${path.replace(/:(\w+)(\{.*?\})?(?=\/|$)/g, "{$1}")}`,
      );
    expect(told.sort()).toEqual([...new Set(real)].sort());
    expect(routes.length).toBe(told.length);
  });

  it("serve the studio where it is built, and say so where it is not", async () => {
    const bare = await scene();
    expect(await (await bare.ask("GET", "/")).text()).toContain("its page is not built");
    const studio = join(bare.folder, "studio");
    mkdirSync(join(studio, "assets"), { recursive: true });
    writeFileSync(join(studio, "index.html"), "<p>studio");
    writeFileSync(join(studio, "assets/a-1.js"), "1");
    const s = await scene({ studio });
    expect(await (await s.ask("GET", "/")).text()).toBe("<p>studio");
    const script = await s.ask("GET", "/assets/a-1.js");
    expect(script.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(script.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect((await s.ask("GET", "/assets/b.js")).status).toBe(404);
  });

  it("keep a page's settings, tell the schema, count", async () => {
    const s = await scene();
    expect((await s.ask("PUT", "/api/settings", { theme: "dark" })).status).toBe(204);
    expect(await (await s.ask("GET", "/api/settings")).json()).toEqual({ theme: "dark" });
    const schema = (await (await s.ask("GET", "/api/schema")).json()) as { fields: { key: string }[] };
    expect(schema.fields.map(({ key }) => key)).toContain("guidanceRescale");
    await s.jobs.ended((await accepted(s, { prompt: "a" })).id);
    const metrics = await (await s.ask("GET", "/metrics")).text();
    expect(metrics).toContain('koala_jobs_total{state="done"} 1\n');
    expect(metrics).toContain("koala_queue_length 0\n");
    expect(metrics).toContain(
      'koala_http_request_seconds_count{method="POST",route="/api/jobs",status="202"} 1\n',
    );
  });

  it("have A1111's options, samplers and progress", async () => {
    const s = await scene();
    const ask = async (path: string): Promise<unknown> => (await s.ask("GET", `/sdapi/v1/${path}`)).json();
    expect((await s.ask("POST", "/sdapi/v1/options", { sd_model_checkpoint: "other/model" })).status).toBe(
      200,
    );
    expect(await ask("options")).toMatchObject({ sd_model_checkpoint: "other/model" });
    expect(await ask("samplers")).toContainEqual({
      name: "DPM++ 2M Karras",
      aliases: ["dpmpp-2m-karras"],
      options: {},
    });
    expect(await ask("schedulers")).toContainEqual({
      ...{ name: "sgm_uniform", label: "SGM Uniform" },
      ...{ aliases: null, default_rho: -1, need_inner_model: false },
    });
    s.crew.before = gate().wait;
    const reply = s.ask("POST", "/sdapi/v1/txt2img", {
      ...{ prompt: "a", sampler_name: "DPM++ 2M Karras", seed: -1, batch_size: 2, n_iter: 2 },
      alwayson_scripts: { ControlNet: { args: [] } },
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await ask("progress")).toMatchObject({
      progress: 1 / 16,
      state: { job_count: 4, sampling_step: 1, sampling_steps: 4 },
    });
    await s.ask("POST", "/sdapi/v1/interrupt");
    const { images, info } = (await (await reply).json()) as { images: string[]; info: string };
    expect(images).toEqual([]);
    expect(JSON.parse(info)).toMatchObject({
      sd_model_name: "other/model",
      sampler_name: "DPM++ 2M",
      batch_size: 4,
    });
  });
});
