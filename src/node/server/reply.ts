/** Errors as HTTP: one status a code, one shape for every door. */

import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { ErrorCode, KoalaError } from "../../core/errors.ts";
import { errorData } from "./crew.ts";
import type { JobError } from "./job.ts";

/** Faults of the client; all others are the server's. */
const statuses: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  E_REQUEST: 400,
  E_IMAGE: 400,
  E_MODEL: 400,
  E_REFUSED: 400,
  E_ACCESS: 401,
  E_HOST: 403,
  E_NOT_FOUND: 404,
  E_CONFLICT: 409,
  E_TOO_LARGE: 413,
  E_BUSY: 429,
};

export interface ErrorBody {
  readonly error: {
    readonly code: ErrorCode;
    /** What the client called it. */
    readonly field: string;
    readonly expected: string;
    readonly found: string;
    /** The whole sentence. */
    readonly message: string;
    readonly hint?: string;
  };
}

export function errorBody({ code, where, expected, got, message, hint }: JobError): ErrorBody {
  const said = hint === undefined ? {} : { hint };
  return { error: { code, field: where, expected, found: got, message, ...said } };
}

/** The answer to an error that a request met. */
export function errorReply(c: Context, thrown: unknown, retryAfterSeconds: number): Response {
  const data = errorData(thrown);
  const status = statuses[data.code] ?? 500;
  if (status === 401) c.header("WWW-Authenticate", "Bearer");
  if (status === 409) c.header("X-Should-Retry", "false"); // else OpenAI's clients would draw again what was cancelled
  if (status === 429) c.header("Retry-After", String(retryAfterSeconds));
  return c.json(errorBody(data), status);
}

/** Whether it is the client's to mend. */
export const isClientFault = (error: KoalaError): boolean => statuses[error.code] !== undefined;
