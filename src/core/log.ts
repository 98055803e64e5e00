/** A logger is passed in; the package itself is silent. */
export interface Log {
  /** Something the user should know and can act on: a truncated prompt, another scheduler than asked for. */
  warn(message: string): void;
  /** Progress that only a curious user reads. */
  debug(message: string): void;
}

export const silent: Log = { warn: () => {}, debug: () => {} };
