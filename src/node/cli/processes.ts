/** A command that several processes of `mpirun` run together: the first one speaks for all, and its exit code is theirs. */

import { readFileSync } from "node:fs";
import { Writable } from "node:stream";
import { type Communicator, isThrownByAll } from "../../train/parallel.ts";
import type { World } from "./world.ts";

const nothing = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/**
 * Runs `command` alone or as one of a job's processes, those after the first in silence. An error that not all of them throw
 * ends the job, since the others would wait for this process without end.
 */
export async function withProcesses(
  world: World,
  command: (world: World, communicator: Communicator) => Promise<number>,
): Promise<number> {
  const communicator = await world.join();
  const { rank, size } = communicator;
  if (size === 1) return command(world, communicator);
  const own = rank === 0 ? world : { ...world, stdout: nothing(), stderr: nothing() };
  const warning = bindingWarning(size);
  if (warning !== null) own.stderr.write(`warning: ${warning}\n`);
  try {
    const exitCode = await command(own, communicator);
    await communicator.finish();
    return rank === 0 ? exitCode : 0;
  } catch (error) {
    if (!isThrownByAll(error)) communicator.abort(error instanceof Error ? error : new Error(String(error)));
    await communicator.finish();
    if (rank === 0) throw error;
    return 0; // another code would make mpirun end the first process before it has said why
  }
}

/** What is read of the machine; other than in tests, Linux's files and what mpirun says. */
export interface Bound {
  /** The text of a process's status file, or null where there is none. */
  status(pid: number): string | null;
  readonly launcher: number;
  /** Processes of the job on this machine. */
  readonly local: number;
}

const here = (size: number): Bound => ({
  status(pid) {
    try {
      return readFileSync(`/proc/${pid}/status`, "utf8");
    } catch {
      return null;
    }
  },
  launcher: process.ppid,
  local: Number(process.env.OMPI_COMM_WORLD_LOCAL_SIZE ?? size),
});

/** By default mpirun gives each of two processes one core, however many there are: what to say then, or null. */
export function bindingWarning(size: number, { status, launcher, local }: Bound = here(size)): string | null {
  const [own, all] = [status(process.pid), status(launcher)].map(coresOf);
  const share = Math.floor((all ?? 0) / local);
  if (own === undefined || own === null || own >= share) return null;
  return `mpirun lets each process use ${own} of ${all} cores, and its share is ${share}: start it with --bind-to none`;
}

/** How many cores a process may use: the bits of its affinity. */
function coresOf(status: string | null): number | null {
  const mask = /^Cpus_allowed:\s*([\da-f,]+)$/m.exec(status ?? "")?.[1];
  if (mask === undefined) return null;
  const digits = [...mask.replaceAll(",", "")].map((digit) => Number.parseInt(digit, 16));
  return digits.reduce((sum, digit) => sum + [...digit.toString(2)].filter((bit) => bit === "1").length, 0);
}
