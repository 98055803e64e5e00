/** How training looks while it goes on: a living line with a bar in a terminal, plain lines elsewhere, or nothing. */

import type { StepRecord } from "../../train/run.ts";
import { digits } from "../runs/report.ts";
import type { RunWatch } from "../runs/watch.ts";
import { livingLine, sparingly } from "./living-line.ts";
import { printable } from "./tables.ts";
import { roughSeconds } from "./units.ts";
import type { World } from "./world.ts";

export interface TrainingProgress extends RunWatch {
  /** Takes the living line away. */
  end(): void;
}

const silence: TrainingProgress = { note() {}, warn() {}, phase() {}, step() {}, end() {} };

/** "12.3 pictures/s, 3 min left, loss 0.1234, task 0.1, …": what is said of a step beside its number. */
export function saidOf({ picturesPerSecond, loss, terms }: StepRecord, left: number): string {
  const names = Object.keys(terms);
  const parts = names.length > 1 ? names.map((name) => `${name} ${digits(terms[name] ?? 0)}`) : [];
  const time = left > 0 ? [`${roughSeconds(left)} left`] : [];
  return [`${picturesPerSecond.toFixed(1)} pictures/s`, ...time, `loss ${digits(loss)}`, ...parts].join(", ");
}

function plainLines(stream: World["stderr"]): TrainingProgress {
  const write = (line: string): void => void stream.write(`${printable(line)}\n`);
  const isDue = sparingly();
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

function onLine(stream: World["stderr"]): TrainingProgress {
  const line = livingLine(stream);
  return {
    note: line.note,
    warn: line.warn,
    phase: (name, done, total) =>
      line.show(name, done, total ?? 0, total === null ? `${done}` : `${done}/${total}`),
    step: (record, steps, left) =>
      line.show("step", record.step, steps, `${record.step}/${steps}  ${saidOf(record, left)}`),
    end: line.end,
  };
}

/** The progress for where `stderr` leads. */
export function trainingProgress(stderr: World["stderr"], isQuiet: boolean): TrainingProgress {
  if (isQuiet) return silence;
  return stderr.isTTY === true ? onLine(stderr) : plainLines(stderr);
}
