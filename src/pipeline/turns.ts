/** Calls that must not mix, one after another in the order in which they came. */

import { KoalaError } from "../core/errors.ts";

const stopped = (): KoalaError =>
  new KoalaError("E_REQUEST", {
    where: "pipeline",
    expected: "to be kept until its pictures are drawn",
    got: "dispose()",
  });

export class Turns {
  /** Settles when the newest call is done, or has given up. */
  #last: Promise<void> = Promise.resolve();
  /** What has its turn; null: nothing that can be stopped. */
  #running: AsyncGenerator<unknown> | null = null;
  /** Whether it waits for who listens to it, which may be who stops it. */
  #isHeard = false;
  /** Of which its listener will hear that it was stopped. */
  readonly #interrupted = new WeakSet<AsyncGenerator<unknown>>();
  #stops = 0;

  /**
   * Waits for all calls that came before. What it returns ends the turn and must be called.
   * An abort while it waits throws the signal's reason: who came later still waits for those before.
   */
  async take(signal?: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let end = (): void => {};
    this.#last = new Promise((resolve) => {
      end = resolve;
    });
    try {
      await orAborted(before, signal);
    } catch (reason) {
      void before.then(end);
      throw reason;
    }
    return end;
  }

  /** What `make` yields, in its turn. @throws KoalaError E_REQUEST when `stop` ended it, and what `take` throws */
  async *through<T>(make: () => AsyncGenerator<T>, signal?: AbortSignal): AsyncGenerator<T> {
    const stops = this.#stops;
    const end = await this.take(signal);
    if (stops !== this.#stops) {
      end();
      throw stopped();
    }
    const running = this.#inTurn(make(), end);
    this.#running = running;
    yield* running;
    if (this.#interrupted.has(running)) throw stopped();
  }

  async *#inTurn<T>(made: AsyncGenerator<T>, end: () => void): AsyncGenerator<T> {
    try {
      for await (const value of made) {
        this.#isHeard = true;
        yield value;
        this.#isHeard = false;
      }
    } finally {
      this.#isHeard = false;
      this.#running = null;
      end();
    }
  }

  /**
   * Ends what `through` yields, and what waits to, then takes a turn. A listener that waits for the next value hears of it by an
   * error; one that has a value at hand, and may itself be who stops, finds no more of them.
   */
  async stop(): Promise<() => void> {
    this.#stops++;
    const running = this.#running;
    if (running !== null && !this.#isHeard) this.#interrupted.add(running);
    // what it fails with is for its listener
    await running?.return(undefined).catch(() => {});
    return this.take();
  }
}

/** `promise`, unless the signal is aborted before it settles; then its reason is thrown. */
async function orAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let stop = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
  });
  signal.addEventListener("abort", stop);
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
  signal.throwIfAborted();
}
