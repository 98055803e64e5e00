/** A server under more than it can do, and under nonsense. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { fuzz } from "../server-fuzz.ts";
import { openScene } from "../server-scene.ts";
import { killAll, startKoala } from "./server-processes.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-load-"));
});
afterAll(async () => {
  await killAll();
  rmSync(folder, { recursive: true, force: true });
});

it("answers 10,000 malformed requests without a fault, and touches nothing outside its folder", async () => {
  writeFileSync(join(folder, "secret"), "secret");
  const scene = await openScene({ capacity: 100_000, folder: join(folder, "data-fuzz") });
  await fuzz(scene, 10_000, folder);
  expect((await scene.ask("GET", "/healthz")).status).toBe(200);
  await scene.remove();
});

it("gives 200 clients pictures or 429 for a minute, in flat memory", async () => {
  const server = await startKoala("serve", "--port", "0", "--data", join(folder, "data-load"));
  const url = server.line;
  const statuses: Record<number, number> = {};
  const resident: number[] = [];
  const endMs = Date.now() + 60_000;
  const body = JSON.stringify({ prompt: "red apple", size: "32x32", steps: 1, response_format: "b64_json" });
  const client = async (): Promise<void> => {
    while (Date.now() < endMs) {
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${url}/v1/images/generations`, { method: "POST", headers, body });
      await response.arrayBuffer();
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      if (response.status === 429) {
        expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
        await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 800));
      }
    }
  };
  const watch = async (): Promise<void> => {
    while (Date.now() < endMs) {
      const text = await (await fetch(`${url}/metrics`)).text();
      resident.push(Number(/^process_resident_memory_bytes (\d+)/m.exec(text)?.[1] ?? Number.NaN));
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
  };
  await Promise.all([watch(), ...Array.from({ length: 200 }, client)]);
  expect(Object.keys(statuses).sort()).toEqual(["200", "429"]);
  // what is left after a collection: between two of them the heap grows by half, and a sample may lie anywhere
  const third = Math.floor(resident.length / 3);
  const floor = (from: number): number => Math.min(...resident.slice(from, from + third));
  expect(floor(resident.length - third) / floor(third)).toBeLessThan(1.25);
});
