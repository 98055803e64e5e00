/**
 * `npm run bench QUESTION -- [options]`: ours and its peers, interleaved, each run in a fresh process.
 *
 *   unet    seconds a step of KOALA-700M with random weights, float32 and bf16     --size 512,1024  --steps 3
 *   load    process start to the end of the first step, and peak memory   --size 512
 *   serve   a picture by `koala serve` over the library's, and 200 clients for a minute
 *   browser a picture by the static site over Node's, previews, and how soon the page can be used (npm run site first)
 *   image   `koala generate` with the model of the repository, process start to PNG
 *   all     --rounds 3  --threads 2  --only koala,openvino  --model DIR  --out FILE.json
 *
 * A contender is a command whose last line is JSON: { ready, first, steps } in seconds; ready and first count from the
 * start of its process. Peers need a Python with the packages of scripts/peers/requirements.txt: .venv here, or KOALA_PEERS.
 */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const koala = join(root, "bin/koala.js");
const peer = (name) => join(root, "scripts/peers", `${name}.py`);

const { values: o, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string" },
    steps: { type: "string", default: "3" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
    only: { type: "string" },
    model: { type: "string", default: join(tmpdir(), "koala-bench", "koala-700m") },
    out: { type: "string" },
  },
});
const python = process.env.KOALA_PEERS ?? join(root, ".venv/bin/python");

/** Makes what the contenders read, once; it does not count. */
function prepareUnet(sizes) {
  if (!existsSync(join(o.model, "unet"))) {
    mkdirSync(join(o.model, ".."), { recursive: true });
    execFileSync(process.execPath, [koala, "init", "koala-700m", o.model], { stdio: "inherit" });
  }
  if (!hasPeers() || !(isWanted("openvino") || isWanted("openvino-bf16"))) return;
  for (const size of sizes)
    execFileSync(python, [peer("openvino_unet"), o.model, size, "prepare"], { stdio: "inherit" });
}

const hasPeers = () => existsSync(python);
const isWanted = (name) => o.only === undefined || o.only.split(",").includes(name);

function unetContenders(size, steps) {
  const args = [o.model, size, steps, o.threads];
  return {
    koala: [process.execPath, join(root, "bench/unet.js"), ...args, "ort", "f32"],
    "koala-openvino": [process.execPath, join(root, "bench/unet.js"), ...args, "openvino", "f32"],
    "koala-openvino-bf16": [process.execPath, join(root, "bench/unet.js"), ...args, "openvino", "bf16"],
    openvino: [python, peer("openvino_unet"), ...args, "f32"],
    "openvino-bf16": [python, peer("openvino_unet"), ...args, "bf16"],
    diffusers: [python, peer("diffusers_unet"), ...args],
  };
}

function imageContenders() {
  const model = join(root, "models/koala-emoji");
  const out = join(tmpdir(), `koala-bench-${process.pid}.png`);
  return {
    koala: [
      process.execPath,
      koala,
      "generate",
      "a red apple",
      "--seed",
      "0",
      "--threads",
      o.threads,
      "--output",
      out,
    ],
    diffusers: [python, peer("diffusers_image"), model, out, o.threads],
  };
}

/** Peak resident memory of a process in GB, read while it lives; null where there is no /proc. */
function peakOf(pid) {
  try {
    const kb = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kb === undefined ? null : Number(kb) / 1e6;
  } catch {
    return null;
  }
}

async function once([command, ...args]) {
  const start = Date.now();
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, VIRTUAL_ENV: join(python, "../.."), BENCH_START: String(start / 1000) },
  });
  let text = "";
  let complaint = "";
  let peak = null;
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  child.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  const poll = setInterval(() => {
    peak = peakOf(child.pid) ?? peak;
  }, 20);
  const code = await new Promise((resolve) => child.on("close", resolve));
  clearInterval(poll);
  if (code !== 0)
    throw new Error(`${command} ${args[0]} ended with ${code}: ${complaint.trim().split("\n").at(-1)}`);
  const last = text.trim().split("\n").at(-1) ?? "";
  const said = last.startsWith("{") ? JSON.parse(last) : {};
  return { ...said, whole: (Date.now() - start) / 1000, peak };
}

const sorted = (xs) => xs.filter((x) => x !== null && x !== undefined).sort((a, b) => a - b);
function summary(xs) {
  const s = sorted(xs);
  return s.length === 0 ? null : { median: s[s.length >> 1], min: s[0], max: s.at(-1) };
}

async function compete(contenders, measures) {
  const wanted = Object.entries(contenders).filter(
    ([name]) => isWanted(name) && (name === "koala" || hasPeers()), // with the peers comes OpenVINO's library
  );
  const runs = Object.fromEntries(wanted.map(([name]) => [name, []]));
  for (let round = 0; round < Number(o.rounds); round++)
    for (const [name, command] of wanted) {
      process.stderr.write(`round ${round + 1} of ${o.rounds}: ${name}\n`);
      runs[name].push(await once(command));
    }
  return Object.fromEntries(
    Object.entries(runs).map(([name, rs]) => [
      name,
      Object.fromEntries(Object.entries(measures).map(([key, pick]) => [key, summary(rs.flatMap(pick))])),
    ]),
  );
}

const number = (s) => (s === null ? "-" : `${s.median.toFixed(2)} (${s.min.toFixed(2)}-${s.max.toFixed(2)})`);

function table(title, results) {
  const rows = Object.entries(results);
  const keys = Object.keys(rows[0]?.[1] ?? {});
  const ours = results.koala;
  const cells = [["", ...keys.flatMap((key) => [key, "ours/its"])]];
  for (const [name, row] of rows)
    cells.push([
      name,
      ...keys.flatMap((key) => {
        const ratio = ours?.[key] && row[key] ? (ours[key].median / row[key].median).toFixed(2) : "-";
        return [number(row[key]), ratio];
      }),
    ]);
  const widths = cells[0].map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const lines = cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  "));
  process.stdout.write(`\n${title}\n${lines.join("\n")}\n`);
}

const memory = (r) => [r.peak];
const questions = {
  async unet() {
    const sizes = (o.size ?? "512,1024").split(",");
    prepareUnet(sizes);
    const all = {};
    for (const size of sizes) {
      const measures = {
        "s/step": (r) => r.steps,
        "start to first step s": (r) => [r.first],
        "peak GB": memory,
      };
      all[size] = await compete(unetContenders(size, o.steps), measures);
      table(`KOALA-700M U-Net, ${size} px, float32 unless it says bf16, ${o.threads} threads`, all[size]);
    }
    return all;
  },
  async load() {
    const size = o.size ?? "512";
    prepareUnet([size]);
    const measures = {
      "start to loaded s": (r) => [r.ready],
      "start to first step s": (r) => [r.first],
      "peak GB": memory,
    };
    const result = await compete(unetContenders(size, "1"), measures);
    table(`KOALA-700M U-Net, loading from float16, ${size} px`, result);
    return result;
  },
  async image() {
    const result = await compete(imageContenders(), {
      "start to PNG s": (r) => [r.whole],
      "peak GB": memory,
    });
    table("one picture of the repository's model", result);
    return result;
  },
};

questions.serve = async () => {
  const run = await once([process.execPath, join(root, "bench/serve.js"), "10", o.threads]);
  const [library, server] = [summary(run.library), summary(run.server)];
  const { statuses, p50, p95, picturesPerMinute, memory: bytes } = run.load;
  process.stdout.write(
    `\none picture at 128 px, s\nlibrary  ${number(library)}\nserver   ${number(server)}  ratio ${(server.median / library.median).toFixed(3)}\n` +
      `200 clients, 64 px, 4 steps: p50 ${p50?.toFixed(1)} s, p95 ${p95?.toFixed(1)} s, ${picturesPerMinute.toFixed(0)} pictures a minute, ` +
      `answers ${JSON.stringify(statuses)}, server ${bytes.map((n) => `${(n / 1e6).toFixed(0)} MB`).join(" → ")}\n`,
  );
  return run;
};

questions.browser = async () => {
  const run = await once([process.execPath, join(root, "bench/browser.js"), o.rounds]);
  const [node, previews, page, usable] = [run.node, run.nodePreviews, run.browser, run.interactive].map(
    summary,
  );
  const preview = (previews.median - node.median) / (run.steps - 1);
  process.stdout.write(
    `\na picture of ${run.steps} steps, s\nNode              ${number(node)}\nNode, previews    ${number(previews)}  ` +
      `a preview is ${((100 * preview * run.steps) / node.median).toFixed(1)} % of a step\n` +
      `browser           ${number(page)}  ratio ${(page.median / node.median).toFixed(2)}\npage can be used  ${number(usable)}\n`,
  );
  return run;
};

const question = questions[positionals[0]];
if (question === undefined) {
  process.stderr.write(
    `bench: expected ${Object.keys(questions).join(", ")}, got ${positionals[0] ?? "nothing"}\n`,
  );
  process.exitCode = 2;
} else {
  const machine = {
    cpu: cpus()[0]?.model,
    cores: availableParallelism(),
    memoryGB: Math.round(totalmem() / 1e9),
    node: process.version,
    commit: commit(),
    date: new Date().toISOString(),
  };
  const results = await question();
  const text = `${JSON.stringify({ question: positionals[0], options: o, machine, results }, null, 2)}\n`;
  if (o.out !== undefined) writeFileSync(o.out, text);
  if (!hasPeers()) process.stderr.write(`No peers: ${python} is not there.\n`);
}

function commit() {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
      cwd: root,
      encoding: "utf8",
      stdio: "pipe",
    }).trim();
  } catch {
    return null;
  }
}
