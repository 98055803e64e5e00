/** Addresses that an operator gives, checked before anything is opened: one that can never match is told at once. */

import { check } from "../../core/assert.ts";

/** @throws KoalaError E_FLAG */
export function redisUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  check(url !== null && /^rediss?:$/.test(url.protocol) && url.hostname !== "", "E_FLAG", () => ({
    where: "--redis",
    expected: "an address such as redis://127.0.0.1:6379",
    got: JSON.stringify(text.replace(/\/\/.*@/, "//…@")), // not the password
  }));
  return url;
}
