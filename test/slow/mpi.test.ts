/**
 * Jobs of several processes under Open MPI's mpirun, running what `npm run build` made. Without mpirun they are skipped:
 * `apt-get install openmpi-bin libopenmpi-dev`.
 */

import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openMpi } from "../../src/node/mpi.ts";

const root = join(import.meta.dirname, "../..");
const script = join(root, "test/fixtures/mpi.js");
const hasMpirun = spawnSync("mpirun", ["--version"]).status === 0;

interface Ended {
  readonly code: number | null;
  /** What the processes said, the lines of rank 0 first. */
  readonly said: readonly unknown[];
  readonly err: string;
}

function run(
  program: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const child = spawn(program, argv, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 120_000,
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      const said = out.split("\n").filter((line) => line !== "");
      resolve({ code, err, said: said.sort(byRank).map((line) => JSON.parse(line)) });
    });
  });
}

const rankOf = (line: string): number => Number(/"rank":(\d+)/.exec(line)?.[1] ?? 0);
const byRank = (a: string, b: string): number => rankOf(a) - rankOf(b);

/** Open MPI refuses root and more processes than cores unless told otherwise; tests in containers have both. */
const flags = [...(process.getuid?.() === 0 ? ["--allow-run-as-root"] : []), "--oversubscribe"];
const job = (processes: number, scene: string, ...more: readonly string[]): Promise<Ended> =>
  run("mpirun", [...flags, ...more, "-n", `${processes}`, process.execPath, script, scene]);

const why = hasMpirun ? "" : " (skipped: no mpirun here; apt-get install openmpi-bin libopenmpi-dev)";

describe.skipIf(!hasMpirun)(`processes under mpirun${why}`, () => {
  beforeAll(() => {
    const built = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-b", root]);
    expect(`${built.stdout}`).toBe("");
  }, 120_000);

  it.each([2, 3])("%i of them sum 64 MB of arrays, short and long, exactly", async (size) => {
    const { code, said } = await job(size, "sum");
    expect(said).toEqual(Array.from({ length: size }, (_, rank) => ({ rank, size, wrong: 0 })));
    expect(code).toBe(0);
  });

  it("speak over TCP as well, as between machines, and end well", async () => {
    const { code, said } = await job(3, "sum", "--mca", "btl", "tcp,self");
    expect(said).toEqual([0, 1, 2].map((rank) => ({ rank, size: 3, wrong: 0 })));
    expect(code).toBe(0);
  });

  it("make their calls in one order, waited for or not", async () => {
    const { code, said } = await job(3, "order");
    expect(said).toEqual([0, 1, 2].map((rank) => ({ rank, a: 6, b: 60, text: "koala" })));
    expect(code).toBe(0);
  });

  it.each([
    2, 3,
  ])("%i of them take the arrays of the root, of any type, and nothing beside a view", async (size) => {
    const { code, said } = await job(size, "broadcast");
    const root = size - 1;
    expect(said).toEqual(
      Array.from({ length: size }, (_, rank) => ({
        rank,
        wrong: 0,
        halves: [root],
        inside: [rank, rank, root, root, root, rank, rank, rank],
      })),
    );
    expect(code).toBe(0);
  });

  it("wait for a late one without stopping their event loop", async () => {
    const { code, said } = await job(2, "wait");
    const [{ ticks }] = said as readonly [{ ticks: number }];
    expect(ticks).toBeGreaterThan(5); // of 50 in the half second, on a machine that may be busy
    expect(code).toBe(0);
  });

  it("end with a sentence that names the rank when one is killed", async () => {
    const { code, err, said } = await job(3, "lost");
    expect(err).toMatch(
      /mpirun noticed that process rank 1 with PID \d+ on node \S+ exited on signal 9 \(Killed\)\./,
    );
    expect([code, said]).toEqual([137, []]); // 128 + SIGKILL
  });

  it("end when one stops on an error that nobody caught", async () => {
    const { code, err, said } = await job(3, "thrown");
    expect(err).toContain("Error: a mistake of the program\n");
    expect(err).toMatch(/Process name: \[\[\d+,1\],1\]\n {2}Exit code: {4}1\n/);
    expect([code, said]).toEqual([1, []]);
  });

  it("end when one aborts: its sentence with its rank, and the exit code of its error", async () => {
    const { code, err, said } = await job(3, "abort");
    expect(err).toContain("rank 1 of 3: run/state: expected room for 1 GB, got a full disk [E_DISK]\n");
    expect([code, said]).toEqual([2, []]);
  });

  it("end when one aborts out of a call that waits", async () => {
    const { code, err, said } = await job(2, "abort-in-flight");
    expect(err).toContain("rank 1 of 2: interrupted\n");
    expect([code, said]).toEqual([1, []]);
  });

  it("hear what MPI refuses, and go on", async () => {
    const { code, said } = await job(2, "bad-root");
    expect(said).toEqual(
      [0, 1].map((rank) => ({
        rank,
        error: `rank ${rank} of 2, broadcast: expected an answer from every process of the job, got MPI_ERR_ROOT: invalid root [E_ENGINE]\nA process may be lost: the first message of mpirun or of a process says which.`,
      })),
    );
    expect(code).toBe(0);
  });

  it("are alone in a job of one, and without mpirun", async () => {
    expect(await job(1, "sum")).toMatchObject({ code: 0, said: ["alone"] });
    expect(await run(process.execPath, [script, "sum"])).toMatchObject({ code: 0, said: ["alone"] });
  });

  it("that another MPI's launcher started are told so instead of training side by side", async () => {
    const { code, said } = await run(process.execPath, [script, "sum"], { PMI_SIZE: "2" });
    expect(said).toEqual([
      {
        error:
          "mpirun: expected Open MPI to join the 2 processes that were started, got each on its own [E_ENGINE]\nStart them with Open MPI's own mpirun, of the version whose library is loaded: see mpirun --version.",
      },
    ]);
    expect(code).toBe(2);
  });

  it("that find no Open MPI are told which names were tried and how to get it", async () => {
    const libraries = ["libno-mpi.so.40", "libc.so.6"];
    await expect(openMpi({ env: { OMPI_COMM_WORLD_SIZE: "2" }, libraries })).rejects.toThrow(
      "mpirun: expected Open MPI's library, got libno-mpi.so.40: Failed to load shared library: cannot open shared object file: No such file or directory; libc.so.6: Cannot find symbol 'ompi_mpi_comm_world' in shared library [E_ENGINE]\nInstall it, on Debian and Ubuntu with `apt-get install openmpi-bin libopenmpi-dev`, or add its folder to LD_LIBRARY_PATH.",
    );
  });
});
