/** Calls that must not mix, one after another in the order in which they came. */

export class Turns {
  /** Settles when the newest call is done, or has given up. */
  #last: Promise<void> = Promise.resolve();

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
