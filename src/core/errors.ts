/** The one error class of the package: data first, the sentence made from it in one place. */

/** Every code that a `KoalaError` can carry. `user` ones are the caller's fault: exit code 2, HTTP 400. */
export const errorCodes = {
  E_SHAPE: "ours",
  E_GRAPH: "ours",
  E_ONNX: "ours",
  E_NAN: "ours",
  E_INTERNAL: "ours",
  E_CONFIG: "user",
  E_WEIGHTS: "user",
  E_SAFETENSORS: "user",
  E_TOKENIZER: "user",
  E_MODEL: "user",
  E_REQUEST: "user",
  E_FLAG: "user",
  E_FILE: "user",
  E_OUTPUT: "user",
  E_DISK: "user",
  E_ENGINE: "user",
  E_HUB: "user",
  E_CHECKSUM: "user",
  E_OFFLINE: "user",
  E_IMAGE: "user",
  E_MEMORY: "user",
  E_ACCESS: "user",
  E_HOST: "user",
  E_NOT_FOUND: "user",
  E_CONFLICT: "user",
  E_TOO_LARGE: "user",
  E_BUSY: "user",
  E_REFUSED: "user",
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface ErrorData {
  /** The place in the user's words: a tensor, file, flag or checkpoint name. */
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  /** What to do about it, where that is known. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Says `where: expected …, got … [CODE]`, then the hint on a line of its own. */
export class KoalaError extends Error {
  readonly code: ErrorCode;
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, data: ErrorData) {
    super(
      `${data.where}: expected ${data.expected}, got ${data.got} [${code}]${data.hint === undefined ? "" : `\n${data.hint}`}`,
      data.cause === undefined ? {} : { cause: data.cause },
    );
    this.name = "KoalaError";
    this.code = code;
    this.where = data.where;
    this.expected = data.expected;
    this.got = data.got;
    this.hint = data.hint;
  }

  /** Whether the caller can mend it (exit code 2) or we must (exit code 1). */
  get isUserFault(): boolean {
    return errorCodes[this.code] === "user";
  }

  /** The same error, said otherwise; this one is its cause. */
  reworded(said: Partial<ErrorData>): KoalaError {
    const { where, expected, got, hint } = this;
    const own = { where, expected, got, ...(hint === undefined ? {} : { hint }) };
    return new KoalaError(this.code, { ...own, ...said, cause: this });
  }

  toJSON(): {
    code: ErrorCode;
    where: string;
    expected: string;
    got: string;
    hint?: string;
    message: string;
  } {
    const { code, where, expected, got, hint, message } = this;
    return { code, where, expected, got, message, ...(hint === undefined ? {} : { hint }) };
  }
}
