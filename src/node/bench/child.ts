/** One run of one contender: a fresh process, its time by our clock, its peak memory, and what its last line says. */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { KoalaError } from "../../core/errors.ts";

/** A program with its arguments. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What a run came to. */
export interface Outcome {
  /** From before the process was started until it had ended. */
  readonly seconds: number;
  /** The most that the process held at a time; null where the system does not tell. */
  readonly peakBytes: number | null;
  /** The object that is its last line on standard output; empty without one. */
  readonly said: Readonly<Record<string, unknown>>;
}

/** Twenty milliseconds: a peak is lost only if it comes in the last ones of the process. */
const pollMs = 20;

/** After the polite request to end: a network that computes does not listen. */
const patienceMs = 3000;

/** Of standard output and error, what is kept: results are one line, complaints the last. */
const mostText = 2 ** 20;

/** The high water mark of a process's resident memory, where there is a /proc. */
function peakOf(pid: number): number | null {
  try {
    const kB = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kB === undefined ? null : Number(kB) * 1024;
  } catch {
    return null;
  }
}

/** The last line that says something. */
const lastLine = (text: string): string => text.trim().split("\n").at(-1)?.trim() ?? "";

/** A line that begins a traceback or a stack is not the complaint; the last line of Python's is, the first of ours. */
function complaintOf(text: string): string {
  const sentence = text.split("\n").find((line) => /\[E_[A-Z_]+\]$/.test(line.trim()));
  return (sentence ?? lastLine(text)).trim();
}

function objectOf(text: string): Record<string, unknown> {
  const line = lastLine(text);
  if (!line.startsWith("{")) return {};
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/**
 * Runs it to its end; aborting interrupts it, then kills it. It finds the time at which it was started, in seconds since 1970, as BENCH_START.
 * @throws KoalaError E_ENGINE when it fails, with its own complaint; the signal's reason
 */
export async function runChild(command: Command, signal: AbortSignal): Promise<Outcome> {
  signal.throwIfAborted();
  const startMs = Date.now();
  const child = spawn(command.program, command.args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...command.env, BENCH_START: String(startMs / 1000) },
  });
  let lastResort: NodeJS.Timeout | undefined;
  const kill = (): void => {
    child.kill("SIGINT");
    lastResort = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  };
  signal.addEventListener("abort", kill);
  const text = { out: "", err: "" };
  const keep = (stream: keyof typeof text) => (chunk: Buffer) => {
    text[stream] = (text[stream] + chunk.toString()).slice(-mostText);
  };
  child.stdout.on("data", keep("out"));
  child.stderr.on("data", keep("err"));
  let peakBytes: number | null = null;
  const poll = setInterval(() => {
    peakBytes = (child.pid === undefined ? null : peakOf(child.pid)) ?? peakBytes;
  }, pollMs);
  try {
    const end = await new Promise<string | null>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, killer) => resolve(code === 0 ? null : (killer ?? `exit code ${code}`)));
    }).catch((error: Error) => error.message);
    signal.throwIfAborted();
    if (end !== null)
      throw new KoalaError("E_ENGINE", {
        where: [command.program, ...command.args].join(" "),
        expected: "a run to its end",
        got: [end, complaintOf(text.err)].filter((part) => part !== "").join(": "),
      });
    return { seconds: (Date.now() - startMs) / 1000, peakBytes, said: objectOf(text.out) };
  } finally {
    clearInterval(poll);
    clearTimeout(lastResort);
    signal.removeEventListener("abort", kill);
  }
}
