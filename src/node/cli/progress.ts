/** How a run looks while it goes on: one living line with a bar in a terminal, plain lines elsewhere, or nothing. */

import { styleText } from "node:util";
import cliProgress from "cli-progress";
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

/** Lines at least this far apart, for what counts in many steps: a log of an hour stays readable. */
const lineEveryMs = 5000;

function plainLines(stream: World["stderr"]): Progress {
  const write = (line: string): void => void stream.write(`${printable(line)}\n`);
  let lastMs = Number.NEGATIVE_INFINITY;
  const isDue = (isEnd: boolean): boolean => {
    if (!isEnd && performance.now() - lastMs < lineEveryMs) return false;
    lastMs = performance.now();
    return true;
  };
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

/** In characters. */
const barWidth = 28;

function livingLine(stream: World["stderr"]): Progress {
  const hasColours = stream.hasColors?.() === true; // which heeds NO_COLOR and TERM
  const paint = (colour: "cyan" | "yellow", text: string): string =>
    hasColours ? styleText(colour, text) : text;
  let isShown = false;
  let isCounted = false;
  const bar = new cliProgress.SingleBar({
    stream,
    format: "{label} {bar}{tail}",
    formatBar(share) {
      const full = Math.round(share * barWidth);
      return isCounted ? `${paint("cyan", "█".repeat(full))}${"░".repeat(barWidth - full)} ` : "";
    },
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false, // Ctrl-C is ours
  });
  /** `total` 0 is a phase of unknown length, which has no bar. */
  const show = (label: string, value: number, total: number, tail: string): void => {
    isCounted = total > 0;
    const room = Math.max(8, (stream.columns ?? 80) - 8 - barWidth - 4); // beside the label and the bar
    const payload = {
      label: label.padEnd(8),
      tail: tail.length <= room ? tail : `${tail.slice(0, room - 1)}…`,
    };
    if (!isShown) bar.start(total, value, payload);
    else {
      bar.setTotal(total);
      bar.update(value, payload);
    }
    isShown = true;
  };
  const end = (): void => {
    if (isShown) bar.stop();
    isShown = false;
  };
  const write = (line: string): void => {
    end();
    stream.write(`${line}\n`);
  };
  return {
    stage: (stage, detail) => show(stage, 0, 0, detail),
    step: (done, steps, left) =>
      show("denoise", done, steps, `${done}/${steps}${done < steps ? `  ${roughSeconds(left)} left` : ""}`),
    transfer: (verb, file, done, total) =>
      show(verb, done, Math.max(1, total), `${bytes(done)} of ${bytes(total)}  ${file}`),
    count: (label, done, total) => show(label, done, Math.max(1, total), `${done}/${total}`),
    note: (line) => write(printable(line)),
    warn: (message) => write(`${paint("yellow", "warning:")} ${printable(message)}`),
    end,
  };
}

/** The progress for where `stderr` leads. */
export function progressFor(stderr: World["stderr"], isQuiet: boolean): Progress {
  if (isQuiet) return silence;
  return stderr.isTTY === true ? livingLine(stderr) : plainLines(stderr);
}
