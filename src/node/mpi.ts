/**
 * The processes of an `mpirun` job. Each call is one of Open MPI's collective operations; calls of a process go one after
 * another, in the order made, which is the order that every other process must make them in. A process that dies is seen
 * by mpirun, which ends the rest and names its rank.
 */

import { writeSync } from "node:fs";
import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { type Communicator, sumInBuckets } from "../train/parallel.ts";
import {
  loadMpi,
  type MpiCode,
  type MpiLibrary,
  type MpiLibraryOptions,
  THREADS_SERIALIZED,
} from "./mpi-library.ts";

export interface OpenMpiOptions extends MpiLibraryOptions {
  /** Where the launcher says how many processes it started; default: the environment of this one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * The job that this process is one of several of, or null where it was started alone. Once a process.
 * @throws KoalaError E_ENGINE when the launcher started several but koffi or Open MPI is missing or does not join them
 */
export async function openMpi(o: OpenMpiOptions = {}): Promise<Communicator | null> {
  const started = startedProcesses(o.env ?? process.env);
  return started === 1 ? null : joinJob(await loadMpi(o), started);
}

/**
 * Set for each process by Open MPI's mpirun; by MPICH's and by Slurm's PMI-2; by Slurm for every step. The last two are read
 * so that processes which Open MPI cannot join are told so instead of training alone side by side.
 */
const sizeVariables = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] as const;

/** How many processes the launcher started; 1 where there was none. */
export function startedProcesses(env: Readonly<Record<string, string | undefined>>): number {
  const size = sizeVariables.map((name) => Number(env[name])).find((n) => Number.isInteger(n) && n > 0);
  return size ?? 1;
}

/** Joins the job of `started` processes. @throws KoalaError E_ENGINE */
export function joinJob(mpi: MpiLibrary, started: number): Communicator {
  const { code, threads } = mpi.init();
  check(code === 0, "E_ENGINE", () => ({
    where: "mpirun",
    expected: "Open MPI to start",
    got: mpi.errorText(code),
  }));
  const size = mpi.size();
  const problem =
    size !== started
      ? {
          expected: `Open MPI to join the ${started} processes that were started`,
          got: size === 1 ? "each on its own" : `${size} of them`,
          hint: "Start them with Open MPI's own mpirun, of the version whose library is loaded: see mpirun --version.",
        }
      : threads < THREADS_SERIALIZED
        ? {
            expected: "an Open MPI that may be called from worker threads",
            got: "one built without",
            hint: "Install another build of it: those of Linux distributions can.",
          }
        : null;
  if (problem !== null) {
    mpi.finalize();
    throw new KoalaError("E_ENGINE", { where: "mpirun", ...problem });
  }
  return new Job(mpi, mpi.rank(), size);
}

/** Bytes of one broadcast: MPI counts elements in 32 bits with a sign. */
const BROADCAST_BYTES = 2 ** 30;

class Job implements Communicator {
  readonly rank: number;
  readonly size: number;
  readonly #mpi: MpiLibrary;
  /** The last call made; it never rejects. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(mpi: MpiLibrary, rank: number, size: number) {
    this.#mpi = mpi;
    this.rank = rank;
    this.size = size;
  }

  allReduceSum(arrays: readonly Float32Array[]): Promise<void> {
    return this.#next(() =>
      sumInBuckets(arrays, async (bucket) => this.#succeed("sum", await this.#mpi.allReduceSum(bucket))),
    );
  }

  broadcast(arrays: readonly ArrayBufferView[], root: number): Promise<void> {
    return this.#next(async () => {
      for (const { buffer, byteOffset, byteLength } of arrays)
        for (let from = 0; from < byteLength; from += BROADCAST_BYTES) {
          const length = Math.min(BROADCAST_BYTES, byteLength - from);
          const part = new Uint8Array(buffer, byteOffset + from, length);
          this.#succeed("broadcast", await this.#mpi.broadcast(part, root));
        }
    });
  }

  barrier(): Promise<void> {
    return this.#next(async () => this.#succeed("barrier", await this.#mpi.barrier()));
  }

  abort(failure: Error): never {
    const exitCode = failure instanceof KoalaError && failure.isUserFault ? 2 : 1;
    // At once, past the buffers of the stream: the next call ends this process too.
    writeSync(2, `rank ${this.rank} of ${this.size}: ${failure.message}\n`);
    this.#mpi.abort(exitCode);
    return process.exit(exitCode);
  }

  async finish(): Promise<void> {
    await this.barrier(); // MPI_Finalize waits as well, but on the main thread
    this.#succeed("finish", this.#mpi.finalize());
  }

  /** One call at a time: a second one in flight could meet another process's first. */
  #next(call: () => Promise<void>): Promise<void> {
    const done = this.#last.then(call);
    this.#last = done.catch(() => {});
    return done;
  }

  #succeed(operation: string, code: MpiCode): void {
    check(code === 0, "E_ENGINE", () => ({
      where: `rank ${this.rank} of ${this.size}, ${operation}`,
      expected: "an answer from every process of the job",
      got: this.#mpi.errorText(code),
      hint: "A process may be lost: the first message of mpirun or of a process says which.",
    }));
  }
}
