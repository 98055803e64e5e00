/** Conditions that must hold, and branches that cannot be reached. */

import { type ErrorCode, type ErrorData, KoalaError } from "./errors.ts";

/** Throws the error that `data` describes unless `condition` holds; `data` is only built on failure. */
export function check(condition: boolean, code: ErrorCode, data: () => ErrorData): asserts condition {
  if (!condition) throw new KoalaError(code, data());
}

/** Marks a branch that the types have ruled out. */
export function unreachable(value: never, where: string): never {
  throw new KoalaError("E_INTERNAL", {
    where,
    expected: "a case that the types allow",
    got: JSON.stringify(value),
  });
}
