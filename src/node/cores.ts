/** How many physical cores this process may use: arithmetic-bound threads gain nothing from the second one of a core. */

import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** What is read of the machine; other than in tests, the files of Linux and Node's own count. */
export interface Machine {
  /** The text of a file, or null where there is none. */
  read(path: string): string | null;
  /** Names in a folder; none where there is no folder. */
  list(path: string): readonly string[];
  readonly logicalCores: number;
  /** Processes of one job that share the machine; default 1. */
  readonly processes?: number;
}

const here: Machine = {
  read(path) {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return null;
    }
  },
  list(path) {
    try {
      return readdirSync(path);
    } catch {
      return [];
    }
  },
  get logicalCores() {
    return availableParallelism();
  },
  get processes() {
    return Number(process.env.OMPI_COMM_WORLD_LOCAL_SIZE ?? 1); // set by Open MPI's mpirun
  },
};

/** At least 1: the fewest of its share of the cores, the logical cores allowed by affinity, and its share of the CPU quota. */
export function physicalCores(machine: Machine = here): number {
  const cpus = machine.list("/sys/devices/system/cpu").filter((name) => /^cpu\d+$/.test(name));
  const cores = new Set(
    cpus.map((cpu) => machine.read(`/sys/devices/system/cpu/${cpu}/topology/thread_siblings_list`) ?? cpu),
  );
  const quotas = [quotaV2(machine), quotaV1(machine)].filter((n) => n !== null);
  const known = cores.size === 0 ? [] : [cores.size];
  const shares = [...known, ...quotas].map((all) => Math.floor(all / (machine.processes ?? 1)));
  return Math.max(1, Math.min(machine.logicalCores, ...shares));
}

/** cgroup v2: `cpu.max` holds "quota period" or "max period", in microseconds. */
function quotaV2(machine: Machine): number | null {
  const [quota, period] = (machine.read("/sys/fs/cgroup/cpu.max") ?? "max").trim().split(" ");
  return quota === "max" ? null : Number(quota) / Number(period);
}

/** cgroup v1: a quota of -1 is none. */
function quotaV1(machine: Machine): number | null {
  const quota = Number(machine.read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") ?? -1);
  const period = Number(machine.read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") ?? 0);
  return quota > 0 && period > 0 ? quota / period : null;
}
