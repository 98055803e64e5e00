/** What happened to one job, for those who watch: a step or preview replaces the one before, so a log stays short. */

/** One event as it is sent. */
export interface LogEntry {
  /** Rising from 1 within a log. */
  readonly number: number;
  readonly name: "state" | "stage" | "step" | "warning" | "preview" | "picture" | "end";
  readonly data: unknown;
}

const replacing = new Set<LogEntry["name"]>(["step", "preview", "state"]);

export class JobLog {
  private entries: LogEntry[] = [];
  private count = 0;
  private readonly waiting = new Set<() => void>();

  append(name: LogEntry["name"], data: unknown): void {
    if (replacing.has(name)) this.entries = this.entries.filter((entry) => entry.name !== name);
    this.entries.push({ number: ++this.count, name, data });
    if (name === "end") this.entries = this.entries.filter((entry) => entry.name !== "preview");
    for (const wake of this.waiting) wake();
    this.waiting.clear();
  }

  get isOver(): boolean {
    return this.entries.at(-1)?.name === "end";
  }

  /** What happened after the entry of that number, without what was replaced since. */
  after(number: number): readonly LogEntry[] {
    return this.entries.filter((entry) => entry.number > number);
  }

  /** The newest of a kind. */
  last(name: LogEntry["name"]): unknown {
    return this.entries.findLast((entry) => entry.name === name)?.data;
  }

  /** Resolves when there is something after the entry of that number, or when `signal` aborts. */
  async changed(number: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.count > number) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        signal.removeEventListener("abort", wake);
        this.waiting.delete(wake);
        resolve();
      };
      this.waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
