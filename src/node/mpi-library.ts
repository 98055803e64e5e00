/**
 * The dozen C functions of Open MPI that training needs, through koffi; the one file that speaks to it. Open MPI's handles
 * (`MPI_COMM_WORLD`, `MPI_FLOAT`, …) are the addresses of variables in its library: `OMPI_PREDEFINED_GLOBAL` in the `mpi.h`
 * of Open MPI 4.1. What waits for other processes runs on a worker thread, so that the event loop goes on.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { KoalaError } from "../core/errors.ts";
import { type Koffi, keepLoaded, type Library, later, loadKoffi, message, type Native } from "./koffi.ts";

/** What an MPI function returns; 0 is `MPI_SUCCESS`. */
export type MpiCode = number;

export interface MpiLibrary {
  /** Joins the job, once a process. The answer is the `MPI_THREAD_…` level that the library grants. */
  init(): { readonly code: MpiCode; readonly threads: number };
  rank(): number;
  size(): number;
  /** Sums in place over all processes. */
  allReduceSum(data: Float32Array): Promise<MpiCode>;
  broadcast(data: Uint8Array, root: number): Promise<MpiCode>;
  /** Resolves once every process has come to it. Asks now and then instead of spinning, which Open MPI's own waiting does. */
  barrier(): Promise<MpiCode>;
  errorText(code: MpiCode): string;
  /** Ends every process of the job, this one too. */
  abort(exitCode: number): void;
  finalize(): MpiCode;
}

/** `MPI_THREAD_SERIALIZED`: any thread may call, one at a time. */
export const THREADS_SERIALIZED = 2;
/** `MPI_THREAD_MULTIPLE`: asked for, since an abort may come while a worker thread waits in a call. */
const THREADS_MULTIPLE = 3;
/** `MPI_IN_PLACE`: the sum is taken from where it is put. */
const IN_PLACE = 1n;
/** Milliseconds between two questions at a barrier that lasts: a tenth of what was waited so far, and no more than this. */
const LONGEST_PAUSE = 20;
/** `MPI_MAX_ERROR_STRING`. */
const ERROR_CHARS = 256;
export interface MpiLibraryOptions {
  /** The module to load; other than in tests, koffi. */
  readonly koffi?: string;
  /** Names of the library as the system's loader looks them up, the first that is there wins. */
  readonly libraries?: readonly string[];
}

/** The first has the version of the binary interface that Open MPI has kept since 2.0. */
const libraryNames: readonly string[] =
  process.platform === "darwin" ? ["libmpi.40.dylib", "libmpi.dylib"] : ["libmpi.so.40", "libmpi.so"];

/** @throws KoalaError E_ENGINE without koffi or Open MPI's library */
export async function loadMpi(o: MpiLibraryOptions = {}): Promise<MpiLibrary> {
  const koffi = await openKoffi(o.koffi);
  return bind(openLibrary(koffi, o.libraries ?? libraryNames));
}

async function openKoffi(from: string | undefined): Promise<Koffi> {
  try {
    return await loadKoffi(from);
  } catch (cause) {
    throw new KoalaError("E_ENGINE", {
      where: "mpirun",
      expected: "the package koffi, through which the processes of a job speak",
      got: "none that loads here",
      hint: "Install it with `npm install koffi`, or start without mpirun to train in one process.",
      cause,
    });
  }
}

function openLibrary(koffi: Koffi, names: readonly string[]): Library {
  const reasons: string[] = [];
  let first: unknown;
  for (const name of names) {
    try {
      // Global: Open MPI's plug-ins look for its symbols among those of the whole process.
      const library = koffi.load(name, { global: true });
      library.symbol("ompi_mpi_comm_world"); // MPICH has a libmpi.so too, without it
      keepLoaded(koffi, name); // Open MPI leaves functions with its worker threads to call at their end: a crash after a job over TCP
      return library;
    } catch (cause) {
      first ??= cause;
      reasons.push(`${name}: ${message(cause)}`);
    }
  }
  throw new KoalaError("E_ENGINE", {
    where: "mpirun",
    expected: "Open MPI's library",
    got: reasons.join("; "),
    hint: "Install it, on Debian and Ubuntu with `apt-get install openmpi-bin libopenmpi-dev`, or add its folder to LD_LIBRARY_PATH.",
    cause: first,
  });
}

function bind(library: Library): MpiLibrary {
  const initThread = library.func(
    "int MPI_Init_thread(void *argc, void *argv, int required, _Out_ int *got)",
  );
  const setHandler = library.func("int MPI_Comm_set_errhandler(void *comm, void *handler)");
  const commRank = library.func("int MPI_Comm_rank(void *comm, _Out_ int *rank)");
  const commSize = library.func("int MPI_Comm_size(void *comm, _Out_ int *size)");
  const allReduce = library.func(
    "int MPI_Allreduce(uintptr_t from, void *to, int count, void *type, void *op, void *comm)",
  );
  const bcast = library.func("int MPI_Bcast(void *data, int count, void *type, int root, void *comm)");
  const startBarrier = library.func("int MPI_Ibarrier(void *comm, _Out_ void **request)");
  const test = library.func("int MPI_Test(_Inout_ void **request, _Out_ int *isDone, void *status)");
  const errorString = library.func("int MPI_Error_string(int code, void *text, _Out_ int *length)");
  const abort = library.func("int MPI_Abort(void *comm, int code)");
  const finalize = library.func("int MPI_Finalize()");

  const world = library.symbol("ompi_mpi_comm_world");
  const float = library.symbol("ompi_mpi_float");
  const byte = library.symbol("ompi_mpi_byte");
  const sum = library.symbol("ompi_mpi_op_sum");
  const errorsReturn = library.symbol("ompi_mpi_errors_return");

  const ask = (native: Native): number => {
    const answer = [0];
    native(world, answer);
    return answer[0] ?? 0;
  };
  return {
    init() {
      const threads = [0];
      const code = initThread(null, null, THREADS_MULTIPLE, threads) as MpiCode;
      if (code === 0) setHandler(world, errorsReturn); // by default MPI ends the process without our sentence
      return { code, threads: threads[0] ?? 0 };
    },
    rank: () => ask(commRank),
    size: () => ask(commSize),
    allReduceSum: (data) => later(allReduce, IN_PLACE, data, data.length, float, sum, world),
    broadcast: (data, root) => later(bcast, data, data.length, byte, root, world),
    async barrier() {
      const request: unknown[] = [null];
      let code = startBarrier(world, request) as MpiCode;
      const beganMs = performance.now();
      while (code === 0) {
        const isDone = [0];
        code = test(request, isDone, null) as MpiCode;
        if (isDone[0] !== 0) break;
        const waitedMs = performance.now() - beganMs;
        if (waitedMs < 1) await new Promise((resolve) => setImmediate(resolve));
        else await sleep(Math.min(LONGEST_PAUSE, waitedMs / 10));
      }
      return code;
    },
    errorText(code) {
      const text = new Uint8Array(ERROR_CHARS);
      const length = [0];
      errorString(code, text, length);
      return new TextDecoder().decode(text.subarray(0, length[0] ?? 0));
    },
    abort: (exitCode) => {
      abort(world, exitCode);
    },
    finalize: () => finalize() as MpiCode,
  };
}
