/** Who is next: a bounded queue in which clients take turns, and each client's own jobs keep their order. */

export class FairQueue<T> {
  readonly capacity: number;
  /** In the order of turns: the client at the front is next, and goes to the back. */
  private readonly lines = new Map<string, T[]>();
  private count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.count;
  }

  get isFull(): boolean {
    return this.count >= this.capacity;
  }

  /** Adds at the end of the client's line. The caller has asked `isFull`; what came before a crash is let in all the same. */
  push(client: string, item: T): void {
    const line = this.lines.get(client);
    if (line === undefined) this.lines.set(client, [item]);
    else line.push(item);
    this.count++;
  }

  take(): T | undefined {
    const next = this.lines.entries().next();
    if (next.done === true) return undefined;
    const [client, line] = next.value;
    const item = line.shift();
    this.lines.delete(client);
    if (line.length > 0) this.lines.set(client, line);
    this.count--;
    return item;
  }

  /** Whether it was there. */
  remove(client: string, item: T): boolean {
    const line = this.lines.get(client);
    const at = line?.indexOf(item) ?? -1;
    if (line === undefined || at < 0) return false;
    line.splice(at, 1);
    if (line.length === 0) this.lines.delete(client);
    this.count--;
    return true;
  }

  /** How many items are taken before this one if nothing more comes; null when it is not there. */
  position(client: string, item: T): number | null {
    const round = this.lines.get(client)?.indexOf(item) ?? -1;
    if (round < 0) return null;
    let before = 0;
    let isAhead = true;
    for (const [name, line] of this.lines) {
      if (name === client) isAhead = false;
      before += Math.min(line.length, isAhead ? round + 1 : round);
    }
    return before;
  }
}
