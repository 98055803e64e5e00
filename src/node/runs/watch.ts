/** What follows a run while it goes on: the command line's progress, or a test. */

import type { StepRecord } from "../../train/run.ts";

export interface RunWatch {
  /** A line that stays. */
  note(line: string): void;
  warn(line: string): void;
  /** Work before, between and after steps; `total` null where only the end tells. */
  phase(name: string, done: number, total: number | null): void;
  /** `left` is how many seconds the rest of the `steps` will take. */
  step(record: StepRecord, steps: number, left: number): void;
}
