/** A short fuzz of the server; ten thousand requests are in the slow suite. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fuzz } from "./server-fuzz.ts";
import { openScene } from "./server-scene.ts";

it("answers 300 malformed requests without a fault, and touches nothing outside its folder", async () => {
  const around = mkdtempSync(join(tmpdir(), "koala-fuzz-"));
  writeFileSync(join(around, "secret"), "secret");
  mkdirSync(join(around, "beside"));
  const scene = await openScene({ capacity: 100_000, folder: join(around, "data") });
  try {
    await fuzz(scene, 300, around);
    expect((await scene.ask("GET", "/healthz")).status).toBe(200);
  } finally {
    await scene.remove();
    rmSync(around, { recursive: true });
  }
});
