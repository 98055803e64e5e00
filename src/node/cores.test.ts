import { expect, test } from "vitest";
import { type Machine, physicalCores } from "./cores.ts";

const machine = (files: Record<string, string>, logicalCores: number): Machine => ({
  read: (path) => files[path] ?? null,
  list: () => ["cpu0", "cpu1", "cpu2", "cpu3", "cpufreq", "online"],
  logicalCores,
});
const siblings = Object.fromEntries(
  [0, 1, 2, 3].map((i) => [
    `/sys/devices/system/cpu/cpu${i}/topology/thread_siblings_list`,
    i % 2 === 0 ? "0,2\n" : "1,3\n",
  ]),
);

test("two threads of a core count once", () => {
  expect(physicalCores(machine(siblings, 4))).toBe(2);
});

test("affinity and the quotas of both kinds of control group bound the count", () => {
  expect(physicalCores(machine({}, 4))).toBe(4);
  expect(physicalCores(machine({}, 3))).toBe(3);
  expect(physicalCores(machine({ "/sys/fs/cgroup/cpu.max": "250000 100000\n" }, 4))).toBe(2);
  expect(physicalCores(machine({ "/sys/fs/cgroup/cpu.max": "max 100000\n" }, 4))).toBe(4);
  const v1 = "/sys/fs/cgroup/cpu/cpu.cfs_";
  expect(physicalCores(machine({ [`${v1}quota_us`]: "100000", [`${v1}period_us`]: "100000" }, 4))).toBe(1);
  expect(physicalCores(machine({ [`${v1}quota_us`]: "-1", [`${v1}period_us`]: "100000" }, 4))).toBe(4);
});

test("processes of a job share the cores; one that is bound to a core has it", () => {
  expect(physicalCores({ ...machine({}, 4), processes: 2 })).toBe(2);
  expect(physicalCores({ ...machine({}, 1), processes: 2 })).toBe(1);
  expect(physicalCores({ ...machine({}, 4), processes: 9 })).toBe(1);
});

test("less than one core of quota is still one thread, and an unreadable machine has its logical cores", () => {
  expect(physicalCores(machine({ "/sys/fs/cgroup/cpu.max": "50000 100000" }, 4))).toBe(1);
  expect(physicalCores({ read: () => null, list: () => [], logicalCores: 6 })).toBe(6);
});
