/** Who speaks in a job, how it ends, and mpirun's binding; real jobs are in test/slow/mpi-train.test.ts. */

import { describe, expect, it } from "vitest";
import { fakeJob } from "../../../test/fake-job.ts";
import { KoalaError } from "../../core/errors.ts";
import { together } from "../../train/parallel.ts";
import { bindingWarning, withProcesses } from "./processes.ts";
import type { World } from "./world.ts";

type Command = Parameters<typeof withProcesses>[1];

/** What each process of a job of two comes to, and what reaches the terminal. */
async function inJob(command: Command): Promise<{ ends: unknown[]; said: string[]; aborts: string[] }> {
  const said: string[] = [];
  const aborts: string[] = [];
  const world = {
    stdout: { write: (s: string) => said.push(s) },
    stderr: { write: (s: string) => said.push(s) },
  };
  const abort = (error: Error): never => {
    aborts.push(error.message);
    throw new Error("gone");
  };
  const ends = await Promise.all(
    fakeJob(2).map((job) =>
      withProcesses({ ...world, join: async () => ({ ...job, abort }) } as unknown as World, command).catch(
        String,
      ),
    ),
  );
  return { ends, said: said.filter((line) => !line.startsWith("warning: mpirun")), aborts };
}

const fault = (): KoalaError =>
  new KoalaError("E_DISK", { where: "run", expected: "room", got: "a full disk" });

describe("a command in a job", () => {
  it("speaks once, and ends as the first process does", async () => {
    const { ends, said } = await inJob(async (world, job) => {
      world.stdout.write(`out of ${job.rank}\n`);
      world.stderr.write(`err of ${job.rank}\n`);
      return 130;
    });
    expect(said).toEqual(["out of 0\n", "err of 0\n"]);
    expect(ends).toEqual([130, 0]);
  });

  it("that fails on all is said by the first, while the others end well", async () => {
    const { ends, aborts } = await inJob((_, job) => together(job, () => Promise.reject(fault())));
    expect(ends).toEqual(["KoalaError: run: expected room, got a full disk [E_DISK]", 0]);
    expect(aborts).toEqual([]);
  });

  it("that fails on one, of which the others do not hear, ends the job", async () => {
    const { ends, aborts } = await inJob(() => Promise.reject(fault())); // of two that know nothing of each other
    expect(aborts).toEqual([
      "run: expected room, got a full disk [E_DISK]",
      "run: expected room, got a full disk [E_DISK]",
    ]);
    expect(ends).toEqual(["Error: gone", "Error: gone"]);
  });
});

describe("mpirun's binding", () => {
  const status = (masks: Readonly<Record<number, string>>) => (pid: number) =>
    masks[pid] === undefined ? null : `Name:\tnode\nCpus_allowed:\t${masks[pid]}\nCpus_allowed_list:\t0\n`;
  const warning = (own: string, all: string, local = 2): string | null =>
    bindingWarning(2, { status: status({ [process.pid]: own, 1: all }), launcher: 1, local });

  it("is warned of where a process has fewer cores than its share", () => {
    expect(warning("0001", "ffff")).toBe(
      "mpirun lets each process use 1 of 16 cores, and its share is 8: start it with --bind-to none",
    );
    expect(warning("00000000,00000003", "ffffffff,ffffffff")).toMatch(
      / 2 of 64 cores, and its share is 32: /,
    );
  });

  it("is nobody's business where there is none, or as many as the share", () => {
    expect(warning("ffff", "ffff")).toBeNull();
    expect(warning("1", "3")).toBeNull();
    expect(bindingWarning(2, { status: () => null, launcher: 1, local: 2 })).toBeNull();
  });
});
