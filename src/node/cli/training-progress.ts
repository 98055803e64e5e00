/** How training looks while it goes on: a living line with a bar in a terminal, plain lines elsewhere, or nothing. */

import cliProgress from "cli-progress";
import type { StepRecord } from "../../train/run.ts";
import { digits } from "../runs/report.ts";
import type { RunWatch } from "../runs/watch.ts";
import { printable } from "./tables.ts";
import { roughSeconds } from "./units.ts";
import type { World } from "./world.ts";

export interface TrainingProgress extends RunWatch {
  /** Takes the living line away. */
  end(): void;
}

const silence: TrainingProgress = { note() {}, warn() {}, phase() {}, step() {}, end() {} };

/** Lines at least this far apart: a log of an hour stays readable. */
const lineEveryMs = 5000;

/** "12.3 pictures/s, 3 min left, loss 0.1234, task 0.1, …": what is said of a step beside its number. */
export function saidOf({ picturesPerSecond, loss, terms }: StepRecord, left: number): string {
  const names = Object.keys(terms);
  const parts = names.length > 1 ? names.map((name) => `${name} ${digits(terms[name] ?? 0)}`) : [];
  const time = left > 0 ? [`${roughSeconds(left)} left`] : [];
  return [`${picturesPerSecond.toFixed(1)} pictures/s`, ...time, `loss ${digits(loss)}`, ...parts].join(", ");
}

function plainLines(stream: World["stderr"]): TrainingProgress {
  const write = (line: string): void => void stream.write(`${printable(line)}\n`);
  let lastMs = Number.NEGATIVE_INFINITY;
  const isDue = (isEnd: boolean): boolean => {
    if (!isEnd && performance.now() - lastMs < lineEveryMs) return false;
    lastMs = performance.now();
    return true;
  };
  return {
    note: write,
    warn: (line) => write(`warning: ${line}`),
    phase(name, done, total) {
      if (isDue(done === total)) write(`${name}: ${done}${total === null ? "" : ` of ${total}`}`);
    },
    step(record, steps, left) {
      if (isDue(record.step === steps || record.step === 1))
        write(`step ${record.step} of ${steps}: ${saidOf(record, left)}`);
    },
    end() {},
  };
}

/** In characters. */
const barWidth = 20;

function livingLine(stream: World["stderr"]): TrainingProgress {
  let isShown = false;
  const bar = new cliProgress.SingleBar({
    stream,
    format: "{label} {bar} {value}/{total}  {tail}",
    barsize: barWidth,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false, // Ctrl-C is ours
  });
  const show = (label: string, value: number, total: number, tail: string): void => {
    const counted = `${label} ${value}/${total}`;
    const room = Math.max(8, (stream.columns ?? 80) - counted.length - barWidth - 5);
    const payload = { label, tail: tail.length <= room ? tail : `${tail.slice(0, room - 1)}…` };
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
    stream.write(`${printable(line)}\n`);
  };
  return {
    note: write,
    warn: (line) => write(`warning: ${line}`),
    phase: (name, done, total) => show(name, done, total ?? done, ""),
    step: (record, steps, left) => show("step", record.step, steps, saidOf(record, left)),
    end,
  };
}

/** The progress for where `stderr` leads. */
export function trainingProgress(stderr: World["stderr"], isQuiet: boolean): TrainingProgress {
  if (isQuiet) return silence;
  return stderr.isTTY === true ? livingLine(stderr) : plainLines(stderr);
}
