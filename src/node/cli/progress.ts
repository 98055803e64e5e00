/** How a run looks while it goes on: one living line with a bar in a terminal, plain lines elsewhere, or nothing. */

import { livingLine, sparingly } from "./living-line.ts";
import { printable } from "./tables.ts";
import { bytes, roughSeconds } from "./units.ts";
import type { World } from "./world.ts";

export interface Progress {
  /** What is going on, and in which part of the work. */
  stage(stage: string, detail: string): void;
  /** `done` of `steps` are over; `left` is how many seconds the rest will take. */
  step(done: number, steps: number, left: number): void;
  /** `done` of `total` bytes came from the hub or went to the disk; `file` is the one at hand. */
  transfer(verb: "download" | "write", file: string, done: number, total: number): void;
  /** `done` of `total` of anything else are over. */
  count(label: string, done: number, total: number): void;
  /** A line that stays. */
  note(line: string): void;
  warn(message: string): void;
  /** Takes the living line away. */
  end(): void;
}

const silence: Progress = {
  stage() {},
  step() {},
  transfer() {},
  count() {},
  note() {},
  warn() {},
  end() {},
};

function plainLines(stream: World["stderr"]): Progress {
  const write = (line: string): void => void stream.write(`${printable(line)}\n`);
  const isDue = sparingly();
  return {
    stage: (stage, detail) => write(`${stage}: ${detail}`),
    step(done, steps, left) {
      if (isDue(done === steps))
        write(`denoise: step ${done} of ${steps}${done < steps ? `, ${roughSeconds(left)} left` : ""}`);
    },
    transfer(verb, file, done, total) {
      if (isDue(done === total)) write(`${verb}: ${file}, ${bytes(done)} of ${bytes(total)}`);
    },
    count(label, done, total) {
      if (isDue(done === total)) write(`${label}: ${done} of ${total}`);
    },
    note: write,
    warn: (message) => write(`warning: ${message}`),
    end() {},
  };
}

function onLine(stream: World["stderr"]): Progress {
  const line = livingLine(stream);
  return {
    stage: (stage, detail) => line.show(stage, 0, 0, detail),
    step: (done, steps, left) =>
      line.show(
        "denoise",
        done,
        steps,
        `${done}/${steps}${done < steps ? `  ${roughSeconds(left)} left` : ""}`,
      ),
    transfer: (verb, file, done, total) =>
      line.show(verb, done, Math.max(1, total), `${bytes(done)} of ${bytes(total)}  ${file}`),
    count: (label, done, total) => line.show(label, done, Math.max(1, total), `${done}/${total}`),
    note: line.note,
    warn: line.warn,
    end: line.end,
  };
}

/** The progress for where `stderr` leads. */
export function progressFor(stderr: World["stderr"], isQuiet: boolean): Progress {
  if (isQuiet) return silence;
  return stderr.isTTY === true ? onLine(stderr) : plainLines(stderr);
}
