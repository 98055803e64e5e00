/**
 * Training under Open MPI's mpirun, with what `npm run build` made: two processes lose as one does, and what is left when
 * one is lost or told to stop. Without mpirun they are skipped: `apt-get install openmpi-bin libopenmpi-dev`.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeFamily } from "../model-folder.ts";
import { expectSameRun, logOf, trainingCommands, writeTrainingScene } from "../training-scene.ts";

const root = join(import.meta.dirname, "../..");
const hasMpirun = spawnSync("mpirun", ["--version"]).status === 0;
/** Open MPI refuses root and more processes than cores unless told otherwise; tests in containers have both. */
const flags = [...(process.getuid?.() === 0 ? ["--allow-run-as-root"] : []), "--oversubscribe"];

let home = "";
beforeAll(async () => {
  const built = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-b", root]);
  expect(`${built.stdout}`).toBe("");
  home = mkdtempSync(join(tmpdir(), "koala-mpi-"));
  await writeTrainingScene(home);
  writeFamily(join(home, "model"), "koala-1b");
}, 120_000);
afterAll(() => rmSync(home, { recursive: true }));

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>;
}

function start(processes: number, argv: readonly string[]): Running {
  const koala = [process.execPath, join(root, "bin/koala.js"), ...argv];
  const [program = "", ...args] =
    processes === 1 ? koala : ["mpirun", ...flags, "-n", `${processes}`, ...koala];
  const child = spawn(program, args, { cwd: home, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const ended = new Promise<{ code: number | null; out: string; err: string }>((done) =>
    child.once("close", (code) => done({ code, out, err })),
  );
  return { child, ended };
}

async function untilThereIs(path: string, { child }: Running): Promise<void> {
  while (!existsSync(join(home, path)) && child.exitCode === null)
    await new Promise((done) => setTimeout(done, 20));
}

/** The process of rank `rank` in this test's jobs. */
function pidOf(rank: number): number {
  const found = readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      return (
        environment.includes(`OMPI_COMM_WORLD_RANK=${rank}`) &&
        readFileSync(`/proc/${name}/cmdline`, "utf8").includes("koala.js") &&
        environment.includes(`PWD=${home}`)
      );
    } catch {
      return false; // gone meanwhile, or another user's
    }
  });
  expect(found).toHaveLength(1);
  return Number(found[0]);
}

const why = hasMpirun ? "" : " (skipped: no mpirun here; apt-get install openmpi-bin libopenmpi-dev)";

describe.skipIf(!hasMpirun)(`training under mpirun${why}`, () => {
  it.each(
    Object.entries(trainingCommands),
  )("%s: two processes lose as one, and say it once", async (name, command) => {
    const alone = await start(1, [...command, "--out", `${name}-one`]).ended;
    expect([alone.code, alone.out]).toEqual([0, `${name}-one/model\n`]);
    const both = await start(2, [...command, "--out", `${name}-two`]).ended;
    expect([both.code, both.out]).toEqual([0, `${name}-two/model\n`]);
    expect(both.err.match(/step (\d) of \1/g)).toHaveLength(1);
    expectSameRun(join(home, `${name}-one`), join(home, `${name}-two`));
  });

  it("a lost process ends the job with its rank named, and the run goes on from its checkpoint", async () => {
    const command = [...trainingCommands.unet, "--steps", "400", "--checkpoint-every", "2", "--out", "lost"];
    const running = start(2, command);
    await untilThereIs("lost/checkpoints/step-00000002.safetensors", running);
    process.kill(pidOf(1), "SIGKILL");
    const { code, err } = await running.ended;
    expect(code).toBe(137); // 128 + SIGKILL
    expect(err).toMatch(
      /mpirun noticed that process rank 1 with PID \d+ on node \S+ exited on signal 9 \(Killed\)\./,
    );
    const steps = readdirSync(join(home, "lost/checkpoints"))
      .filter((file) => !file.startsWith("."))
      .map((file) => Number(/\d+/.exec(file)?.[0]));
    const last = Math.max(...steps);

    const again = start(2, ["resume", "lost"]);
    await untilThereIs(`lost/checkpoints/step-${String(last + 2).padStart(8, "0")}.safetensors`, again);
    // mpirun passes this signal on; its own answer to Ctrl-C leaves the processes no more than a second or two
    again.child.kill("SIGUSR2");
    const stopped = await again.ended;
    expect(stopped.err).toContain(`goes on after step ${last}\n`);
    expect(stopped.err).toContain("Stopped with a checkpoint; koala resume lost goes on.\n");
    expect(stopped.code).toBe(130);
    expect(logOf(join(home, "lost")).map(({ step }) => step)).toEqual(
      Array.from({ length: logOf(join(home, "lost")).length }, (_, i) => i + 1),
    );
  });

  it("a mistake is told in one sentence", async () => {
    const { code, err } = await start(2, [...trainingCommands.vae, "--out", "odd", "--batch", "3"]).ended;
    expect(code).toBe(2);
    expect(err).toMatch(
      /^batch: expected a multiple of the 2 processes, each of which takes an equal share, got 3 \[E_CONFIG\]\n/m,
    );
    expect(err.match(/E_CONFIG/g)).toHaveLength(1);
    expect(existsSync(join(home, "odd"))).toBe(false);
  });
});
