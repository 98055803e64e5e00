/** The door `koala-diffusion/server`, as a program that embeds it uses it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openServer } from "./index.ts";

let data = "";
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "koala-embedded-"));
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

it("answers requests without a socket, with koala-emoji where no model is named", async () => {
  const koala = await openServer({ data, engine: "ort", precisions: ["int8"] });
  try {
    const answer = await koala.fetch(new Request("http://127.0.0.1/api/models"));
    expect(await answer.json()).toMatchObject({
      models: [{ name: "koala-emoji", engine: "ort", precisions: ["int8"], defaults: { width: 128 } }],
    });
    const refused = await koala.fetch(
      new Request("http://127.0.0.1/api/jobs", {
        method: "POST",
        body: JSON.stringify({ prompt: "a red apple", steps: 151 }),
      }),
    );
    expect(refused.status).toBe(400);
    const elsewhere = await koala.fetch(new Request("http://koala.example/api/models"));
    expect(elsewhere.status).toBe(403);
  } finally {
    await koala.close();
  }
  const again = await openServer({ data, engine: "ort" }); // the folder was let go
  await again.close();
});

it.each([
  ["token", "Did you mean tokens?"],
  [
    "studio",
    "The options are models, data, engine, base, isOffline, precisions, host, names, url, tokens, origins, limits, nsfw, capacity, workers, threads, redis, runs, log.",
  ],
])("refuses an option that it has not: %s", async (name, hint) => {
  await expect(openServer({ data, [name]: "secret" })).rejects.toThrow(
    `${name}: expected an option of openServer, got an unknown name [E_FLAG]\n${hint}`,
  );
});

it("is for others than this machine only with a token", async () => {
  await expect(openServer({ data, host: "0.0.0.0" })).rejects.toThrow(
    "--host: expected a loopback address, or a token, got 0.0.0.0 without one [E_FLAG]\nOthers could use this machine: --token SECRET lets in only those who know it.",
  );
});
