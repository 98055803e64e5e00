/** What progress is shown with: one line with a bar that changes in place, and plain lines at some distance. */

import { styleText } from "node:util";
import cliProgress from "cli-progress";
import { printable } from "./tables.ts";
import type { World } from "./world.ts";

export interface LivingLine {
  /** `value` of `total` with a word before the bar and a text behind it; `total` 0 is of unknown length, which has no bar. */
  show(label: string, value: number, total: number, tail: string): void;
  /** A line that stays. */
  note(line: string): void;
  warn(message: string): void;
  /** Takes the living line away. */
  end(): void;
}

/** In characters. */
const barWidth = 28;
/** Of the shortest label, so that bars stand below each other. */
const labelWidth = 8;

export function livingLine(stream: World["stderr"]): LivingLine {
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
  const end = (): void => {
    if (isShown) bar.stop();
    isShown = false;
  };
  const write = (line: string): void => {
    end();
    stream.write(`${line}\n`);
  };
  return {
    show(name, value, total, text) {
      isCounted = total > 0;
      const label = name.padEnd(labelWidth);
      const room = Math.max(8, (stream.columns ?? 80) - label.length - barWidth - 4); // beside the label and the bar
      const tail = text.length <= room ? text : `${text.slice(0, room - 1)}…`;
      if (!isShown) bar.start(total, value, { label, tail });
      else {
        bar.setTotal(total);
        bar.update(value, { label, tail });
      }
      isShown = true;
    },
    note: (line) => write(printable(line)),
    warn: (message) => write(`${paint("yellow", "warning:")} ${printable(message)}`),
    end,
  };
}

/** Lines at least this far apart, for what counts in many steps: a log of an hour stays readable. */
const lineEveryMs = 5000;

/** Says whether the next line is due; the last one, and the first, always are. */
export function sparingly(): (isEnd: boolean) => boolean {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (isEnd) => {
    if (!isEnd && performance.now() - lastMs < lineEveryMs) return false;
    lastMs = performance.now();
    return true;
  };
}
