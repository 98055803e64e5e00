/** What needs no MPI; jobs of several processes are in test/slow/mpi.test.ts. */

import { describe, expect, it } from "vitest";
import { joinJob, openMpi, startedProcesses } from "./mpi.ts";
import type { MpiLibrary } from "./mpi-library.ts";

/** A job of two in which the other one has the same numbers. */
function fakeMpi(changes: Partial<MpiLibrary> = {}): MpiLibrary & { readonly calls: string[] } {
  const calls: string[] = [];
  const answer = async (call: string): Promise<number> => {
    calls.push(`${call} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    calls.push(`${call} ends`);
    return 0;
  };
  return {
    calls,
    init: () => ({ code: 0, threads: 3 }),
    rank: () => 0,
    size: () => 2,
    allReduceSum(data) {
      for (const [i, x] of data.entries()) data[i] = 2 * x;
      return answer(`sum of ${data.length}`);
    },
    broadcast: (data, root) => answer(`broadcast of ${data.length} from ${root}`),
    barrier: () => answer("barrier"),
    errorText: (code) => `MPI error ${code}`,
    abort: () => {},
    finalize: () => calls.push("finalize") * 0,
    ...changes,
  };
}

describe("how many processes were started", () => {
  it("is one without a launcher", () => {
    expect(startedProcesses({})).toBe(1);
    expect(startedProcesses({ OMPI_COMM_WORLD_SIZE: "" })).toBe(1);
  });

  it("is what the launcher says: Open MPI's own before another's around it", () => {
    expect(startedProcesses({ OMPI_COMM_WORLD_SIZE: "4", SLURM_STEP_NUM_TASKS: "1" })).toBe(4);
    expect(startedProcesses({ PMI_SIZE: "3" })).toBe(3);
    expect(startedProcesses({ SLURM_STEP_NUM_TASKS: "8" })).toBe(8);
  });
});

describe("openMpi", () => {
  it("gives null to a process that is alone, and looks for no library", async () => {
    expect(await openMpi({ env: {}, koffi: "no-such-package" })).toBeNull();
    expect(await openMpi({ env: { OMPI_COMM_WORLD_SIZE: "1" }, koffi: "no-such-package" })).toBeNull();
  });

  it("says that koffi is missing and how to get it", async () => {
    await expect(openMpi({ env: { OMPI_COMM_WORLD_SIZE: "2" }, koffi: "no-such-package" })).rejects.toThrow(
      "mpirun: expected the package koffi, through which the processes of a job speak, got none that loads here [E_ENGINE]\nInstall it with `npm install koffi`, or start without mpirun to train in one process.",
    );
  });
});

describe("a job", () => {
  it("that Open MPI does not start is an error with its words", () => {
    const mpi = fakeMpi({ init: () => ({ code: 16, threads: 0 }) });
    expect(() => joinJob(mpi, 2)).toThrow("mpirun: expected Open MPI to start, got MPI error 16 [E_ENGINE]");
  });

  it("of other processes than were started is left with an error", () => {
    const alone = fakeMpi({ size: () => 1 });
    expect(() => joinJob(alone, 2)).toThrow(
      "mpirun: expected Open MPI to join the 2 processes that were started, got each on its own [E_ENGINE]\nStart them with Open MPI's own mpirun, of the version whose library is loaded: see mpirun --version.",
    );
    expect(alone.calls).toEqual(["finalize"]);
    expect(() => joinJob(fakeMpi({ size: () => 3 }), 4)).toThrow(
      "mpirun: expected Open MPI to join the 4 processes that were started, got 3 of them [E_ENGINE]\nStart them with Open MPI's own mpirun, of the version whose library is loaded: see mpirun --version.",
    );
  });

  it("whose library is for one thread alone is left with an error", () => {
    const mpi = fakeMpi({ init: () => ({ code: 0, threads: 1 }) });
    expect(() => joinJob(mpi, 2)).toThrow(
      "mpirun: expected an Open MPI that may be called from worker threads, got one built without [E_ENGINE]\nInstall another build of it: those of Linux distributions can.",
    );
    expect(mpi.calls).toEqual(["finalize"]);
  });

  it("makes one call at a time, in the order they came", async () => {
    const mpi = fakeMpi();
    const job = joinJob(mpi, 2);
    const [a, b] = [Float32Array.of(1, 2), Float32Array.of(3)];
    await Promise.all([job.allReduceSum([a, b]), job.broadcast([new Float64Array(2)], 1), job.finish()]);
    expect([...a, ...b]).toEqual([2, 4, 6]);
    expect(mpi.calls).toEqual([
      "sum of 3 begins",
      "sum of 3 ends",
      "broadcast of 16 from 1 begins",
      "broadcast of 16 from 1 ends",
      "barrier begins",
      "barrier ends",
      "finalize",
    ]);
  });

  it("names the rank and the operation of a call that fails, and takes the next one", async () => {
    const mpi = fakeMpi({ allReduceSum: async () => 15, finalize: () => 13 });
    const job = joinJob(mpi, 2);
    const lost = job.allReduceSum([new Float32Array(1)]);
    const next = job.barrier();
    await expect(lost).rejects.toThrow(
      "rank 0 of 2, sum: expected an answer from every process of the job, got MPI error 15 [E_ENGINE]\nA process may be lost: the first message of mpirun or of a process says which.",
    );
    await next;
    await expect(job.finish()).rejects.toThrow("rank 0 of 2, finish: expected an answer");
  });
});
