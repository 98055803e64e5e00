/**
 * Who may ask. A page in someone's browser can reach this port too: so the Host must be a name of this server (a DNS name
 * rebound to our address is not), and what a browser sends from another page is refused unless that page is allowed.
 */

import { timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { getConnInfo } from "@hono/node-server/conninfo";
import type { Context, MiddlewareHandler } from "hono";
import { getCookie, setCookie } from "hono/cookie";
import { check } from "../../core/assert.ts";
import { hash, holdersOf } from "./tokens.ts";

export interface AccessOptions {
  /** The address that the server binds to. */
  readonly host: string;
  /** Other names under which it may be asked for. */
  readonly names: readonly string[];
  /** SECRET or NAME=SECRET. Any secret opens the API; each is a client of its own. None: everyone who reaches the port. */
  readonly tokens: readonly string[];
  /** Origins whose pages may use the API. */
  readonly origins: readonly string[];
  /** Where clients reach the server, such as a proxy's `https://koala.example`; absent: as each request says. */
  readonly url?: string;
}

/** What later handlers know of the asker. */
export interface Asker {
  readonly owner: string;
  readonly client: string;
}

/** Types of the app's context. */
export interface Env {
  Variables: {
    asker: Asker;
    /** Of this server, as the asker reaches it. */
    origin: string;
  };
}

const loopbackNames = ["localhost", "127.0.0.1", "::1"];

/** Whether only this machine reaches an address. */
export const isLoopback = (host: string): boolean =>
  loopbackNames.includes(host) || /^127\.\d+\.\d+\.\d+$/.test(host);

/** A Host header or an origin's authority without its port and brackets. */
export function nameOf(authority: string): string {
  const [, ipv6, name] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(authority.toLowerCase()) ?? [];
  return ipv6 ?? name ?? "";
}

const cookieName = "koala_token";
/** The longest that browsers keep one, in seconds: 400 days (RFC 6265bis, 5.5). */
const cookieAge = 34_560_000;

/** Both that a page of `authority` may have: a proxy speaks TLS where our own socket does not. */
const originsOf = (authority: string): string[] =>
  ["http", "https"]
    .map((scheme) => `${scheme}://${authority}`)
    .filter((url) => URL.canParse(url))
    .map((url) => new URL(url).origin); // without the scheme's own port

/** The token that a request carries: bearer, the password of basic (A1111's clients), or the page's cookie. */
function tokenOf(c: Context): string | undefined {
  const [, kind, value = ""] = /^(Bearer|Basic) +(\S+)$/i.exec(c.req.header("authorization") ?? "") ?? [];
  if (kind === undefined) return getCookie(c, cookieName);
  if (kind.toLowerCase() === "bearer") return value;
  const pair = Buffer.from(value, "base64").toString("utf8");
  return pair.slice(pair.indexOf(":") + 1);
}

/** The address that a request came from; tests without a socket are one client. */
function addressOf(c: Context): string {
  const env = c.env as { incoming?: unknown } | undefined;
  return env?.incoming === undefined ? "here" : (getConnInfo(c).remote.address ?? "unknown");
}

/** Paths that need no token: is it alive, the page itself, and pictures, whose names cannot be guessed. */
const isOpen = (path: string): boolean =>
  path === "/healthz" ||
  path.startsWith("/pictures/") ||
  !/^\/(api|v1|sdapi|metrics|openapi\.json)(\/|$)/.test(path);

/**
 * Refuses those who may not ask, with E_HOST or E_ACCESS, and remembers who does.
 * @throws KoalaError E_FLAG as `holdersOf`
 */
export function access(o: AccessOptions): MiddlewareHandler<Env> {
  const holders = holdersOf(o.tokens);
  const hashes = holders.map(({ secret }) => hash(secret));
  const own = o.url === undefined ? [] : [nameOf(new URL(o.url).host)];
  const bound = isLoopback(o.host) ? [] : [o.host, hostname()];
  const names = [...o.names, ...own, ...bound].map((name) => name.toLowerCase());
  const isOurs = (name: string): boolean =>
    isLoopback(name) || names.includes(name) || (!isLoopback(o.host) && isIP(name) !== 0); // rebinding needs a DNS name

  const holder = (token: string | undefined): number => {
    if (token === undefined) return -1;
    const given = hash(token);
    return hashes.findIndex((known) => timingSafeEqual(known, given));
  };

  /** @throws KoalaError E_ACCESS */
  const checkToken = (isRight: boolean, where: string, expected: string, token: string | undefined): void =>
    check(isRight, "E_ACCESS", () => ({
      where,
      expected,
      got: token === undefined ? "none" : "another one",
      hint: "Open /?token=SECRET once.",
    }));

  return async (c, next) => {
    const authority = c.req.header("host") ?? new URL(c.req.url).host;
    const name = nameOf(authority);
    check(isOurs(name), "E_HOST", () => ({
      where: "Host",
      expected: "a name of this server",
      got: JSON.stringify((name === "" ? authority : name).slice(0, 80)), // as --allow-host wants it
      hint: "koala serve --allow-host NAME adds one.",
    }));
    const origin = c.req.header("origin");
    const isOwnPage = origin !== undefined && (origin === o.url || originsOf(authority).includes(origin));
    check(origin === undefined || isOwnPage || o.origins.includes(origin), "E_HOST", () => ({
      where: "Origin",
      expected: "this server's own page",
      got: JSON.stringify(origin?.slice(0, 80)),
      hint: "koala serve --cors ORIGIN allows another.",
    }));
    c.set("origin", o.url ?? (isOwnPage ? origin : new URL(c.req.url).origin));
    const { path } = c.req;
    const linked = path === "/" && hashes.length > 0 ? c.req.query("token") : undefined;
    if (linked !== undefined) {
      checkToken(holder(linked) >= 0, "token", "one of this server", linked);
      setCookie(c, cookieName, linked, {
        ...{ httpOnly: true, sameSite: "Strict", path: "/", maxAge: cookieAge },
      });
      return c.redirect("/"); // so that the token stays out of the history
    }
    const token = tokenOf(c);
    const index = holder(token);
    const isLetIn = hashes.length === 0 || isOpen(path) || index >= 0;
    checkToken(isLetIn, "Authorization", "Bearer and a token of this server", token);
    const owner = holders[index]?.owner ?? "";
    c.set("asker", { owner, client: holders.length > 1 && index >= 0 ? owner : addressOf(c) });
    return next();
  };
}
