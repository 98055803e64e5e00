/** Addresses that an operator gives, checked before anything is opened: one that can never match is told at once. */

import { isIP } from "node:net";
import { check } from "../../core/assert.ts";
import { nameOf } from "./access.ts";

/** @throws KoalaError E_FLAG for what is no origin as browsers write it */
export function webOrigin(where: string, text: string): void {
  const url = URL.canParse(text) ? new URL(text) : null;
  check(url !== null && /^https?:$/.test(url.protocol) && url.origin === text, "E_FLAG", () => ({
    where,
    expected: "an origin such as https://example.org, without a path",
    got: JSON.stringify(text),
  }));
}

/** The name in a Host header; a port says nothing, since a server is asked for by name. @throws KoalaError E_FLAG */
export function hostName(text: string): string {
  const name = isIP(text) === 6 ? text.toLowerCase() : nameOf(text);
  check(isIP(name) !== 0 || /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name), "E_FLAG", () => ({
    where: "--allow-host",
    expected: "a name such as koala.example, without a scheme and a path",
    got: JSON.stringify(text),
  }));
  return name;
}

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
