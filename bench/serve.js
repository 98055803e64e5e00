/**
 * `bench serve`: what a server costs over the library, and what it does under 200 clients. Both draw models/koala-emoji in
 * interleaved turns, the library in this process. The last line is JSON.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Pipeline } from "koala-diffusion";

const root = fileURLToPath(new URL("..", import.meta.url));
const [rounds = "10", threads = "2", seconds = "60", clients = "200"] = process.argv.slice(2);
const data = mkdtempSync(join(tmpdir(), "koala-bench-serve-"));
const server = spawn(
  process.execPath,
  [join(root, "bin/koala.js"), "serve", "--port", "0", "--data", data, "--threads", threads, "--quiet"],
  { stdio: ["ignore", "pipe", "inherit"] },
);
const url = await new Promise((resolve, reject) => {
  server.stdout.once("data", (chunk) => resolve(String(chunk).trim()));
  server.once("exit", (code) => reject(new Error(`koala serve ended with ${code}`)));
});
const pipeline = await Pipeline.load(join(root, "models/koala-emoji"), { threads: Number(threads) });

async function library(seed) {
  const events = pipeline.generate({ prompt: "red apple", seed, width: 128, height: 128 });
  for await (const event of events) if (event.type === "image") return event.picture;
}

async function post(body) {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "red apple", response_format: "b64_json", ...body }),
  });
  await response.arrayBuffer();
  return response.status;
}

async function timed(draw) {
  const start = performance.now();
  await draw();
  return (performance.now() - start) / 1000;
}

const resident = async () => {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\d+)/m.exec(text)?.[1]);
};

async function load() {
  const times = [];
  const statuses = {};
  const memory = [await resident()];
  const endMs = Date.now() + Number(seconds) * 1000;
  const client = async () => {
    while (Date.now() < endMs) {
      const start = performance.now();
      const status = await post({ size: "64x64", steps: 4 });
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 200) times.push((performance.now() - start) / 1000);
      else await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 800));
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: Number(clients) }, client));
  const minutes = (performance.now() - start) / 60_000;
  memory.push(await resident());
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? null;
  return { statuses, p50: at(0.5), p95: at(0.95), picturesPerMinute: times.length / minutes, memory };
}

try {
  await library(0);
  await post({ size: "128x128", seed: 0 });
  const runs = { library: [], server: [] };
  for (let seed = 1; seed <= Number(rounds); seed++) {
    runs.library.push(await timed(() => library(seed)));
    runs.server.push(await timed(() => post({ size: "128x128", seed })));
  }
  process.stdout.write(`${JSON.stringify({ ...runs, load: await load() })}\n`);
} finally {
  await pipeline.dispose();
  server.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
}
