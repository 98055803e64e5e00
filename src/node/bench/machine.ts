/** On what a benchmark ran: figures without it say nothing. */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, platform, release, totalmem } from "node:os";
import { physicalCores } from "../cores.ts";
import type { Python } from "./peers.ts";

export interface Machine {
  readonly processor: string;
  /** Physical ones that this process may use. */
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  readonly koala: string;
  /** Of the repository, where it is one. */
  readonly commit: string | null;
  /** Of our engines, as `koala engines` says them. */
  readonly engines: Readonly<Record<string, string>>;
  /** Of the peers' packages. */
  readonly peers: Readonly<Record<string, string>>;
  readonly date: string;
}

/** With its model and family number where it hides its name, as virtual machines do. */
function processorName(): string {
  const name = cpus()[0]?.model.trim() ?? "unknown";
  try {
    const text = readFileSync("/proc/cpuinfo", "utf8");
    const field = (key: string): string => new RegExp(`^${key}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "?";
    return `${name} (family ${field("cpu family")}, model ${field("model")})`;
  } catch {
    return name;
  }
}

function commitOf(root: string): string | null {
  try {
    const o = { cwd: root, encoding: "utf8", stdio: "pipe" } as const;
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], o).trim();
  } catch {
    return null; // an installed package
  }
}

export const machineOf = (o: {
  readonly root: string;
  readonly version: string;
  readonly python: Python | null;
  readonly engines: Readonly<Record<string, string>>;
}): Machine => ({
  ...{ processor: processorName(), cores: physicalCores(), memoryBytes: totalmem() },
  ...{ system: `${platform()} ${release()}`, node: process.version, koala: o.version },
  ...{ commit: commitOf(o.root), engines: o.engines, peers: o.python?.versions ?? {} },
  date: new Date().toISOString(),
});

/** "AMD EPYC (family 25, model 17), 2 cores, 24 GB". */
export const machineText = ({ processor, cores, memoryBytes }: Machine): string =>
  `${processor}, ${cores} core${cores === 1 ? "" : "s"}, ${Math.round(memoryBytes / 1e9)} GB`;
