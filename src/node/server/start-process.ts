/** Child processes of the server, each a program of ours with a channel to it. */

import { type ChildProcess, fork } from "node:child_process";
import { EngineLost } from "./crew.ts";

/**
 * Starts the program at `path`. One that could not be started is told by `error`, which no `exit` follows, and may have no
 * channel: ask `connected` before sending to it.
 * @throws EngineLost where the system refuses at once: for want of memory, say
 */
export function startProcess(path: string, stderr: "pipe" | "ignore"): ChildProcess {
  try {
    const child = fork(path, [], {
      serialization: "advanced", // pictures are bytes, maps are arrays of numbers
      stdio: ["ignore", "ignore", stderr, "ipc"],
      execArgv: [],
    });
    return child.on("error", () => {}); // whoever waits hears it too; with no listener it would end the server
  } catch (thrown) {
    throw new EngineLost((thrown as Error).message);
  }
}

/** Calls `lose` with how the process ended, or why it was never there. Returns how to stop listening. */
export function onLost(child: ChildProcess, lose: (how: string) => void): () => void {
  const end = (code: number | null, killed: NodeJS.Signals | null): void =>
    lose(killed ?? `exit code ${code}`);
  const fail = ({ message }: Error): void => lose(message);
  child.once("exit", end);
  child.once("error", fail);
  return () => {
    child.off("exit", end);
    child.off("error", fail);
  };
}
