/**
 * `koala bench serve`: what a server costs over the library, and what it does under many clients. Both draw one model in
 * interleaved turns, the library in this process.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pipeline } from "../../../pipeline/pipeline.ts";
import { answer, asked } from "./asked.ts";

const o = asked<{
  readonly koala: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly clients: number;
}>();
const data = mkdtempSync(join(tmpdir(), "koala-bench-serve-"));
const flags = ["serve", "--model", o.model, "--port", "0", "--data", data];
const server = spawn(process.execPath, [o.koala, ...flags, "--threads", `${o.threads}`, "--quiet"], {
  stdio: ["ignore", "pipe", "inherit"],
});
process.once("SIGINT", () => {
  server.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
  process.exit(130);
});

async function timed(draw: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await draw();
  return (performance.now() - startMs) / 1000;
}

async function post(url: string, body: Readonly<Record<string, unknown>>): Promise<number> {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "red apple", response_format: "b64_json", ...body }),
  });
  await response.arrayBuffer();
  return response.status;
}

async function residentBytes(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\d+)/m.exec(text)?.[1]);
}

/** Every client asks for the next picture when it has one; a refused one waits a moment, as the answer asks it to. */
async function load(url: string): Promise<Record<string, unknown>> {
  const times: number[] = [];
  const statuses: Record<string, number> = {};
  const before = await residentBytes(url);
  const endMs = Date.now() + o.seconds * 1000;
  const client = async (): Promise<void> => {
    while (Date.now() < endMs) {
      const startMs = performance.now();
      const status = await post(url, { size: "64x64", steps: 4 });
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 200) times.push((performance.now() - startMs) / 1000);
      else await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 800));
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: o.clients }, client));
  const minutes = (performance.now() - startMs) / 60_000;
  return {
    times,
    statuses,
    picturesPerMinute: times.length / minutes,
    before,
    after: await residentBytes(url),
  };
}

try {
  const url = await new Promise<string>((resolve, reject) => {
    server.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
    server.once("exit", (code) => reject(new Error(`koala serve ended with ${code}`)));
  });
  const pipeline = await Pipeline.load(o.model, { threads: o.threads });
  const size = { width: o.size, height: o.size };
  const library = async (seed: number): Promise<void> => {
    const request = { prompt: "red apple", seed, ...size };
    for await (const event of pipeline.generate(request)) if (event.type === "image") return;
  };
  const served = (seed: number) => post(url, { size: `${o.size}x${o.size}`, seed });
  await library(0);
  await served(0);
  const times: { library: number[]; server: number[] } = { library: [], server: [] };
  for (let seed = 1; seed <= o.rounds; seed++) {
    times.library.push(await timed(() => library(seed)));
    times.server.push(await timed(() => served(seed)));
  }
  await pipeline.dispose();
  answer({ ...times, load: await load(url) });
} finally {
  server.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
}
