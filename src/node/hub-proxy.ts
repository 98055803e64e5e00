/**
 * Requests to the hub through a proxy that the environment names. Node's own `fetch` reads none of these variables, before
 * Node 22.21 not even when it is asked to; so undici's is used, the package that it is made of, along with its agent: an agent
 * speaks to the `fetch` of its own version alone. Loaded only where a proxy is named.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { networkHint, Passing } from "../hub/http.ts";

/** Addresses as the variables have them, "" where one is not set. */
export interface ProxySettings {
  /** For `http:` addresses. */
  readonly http: string;
  /** For `https:` addresses; "": as for `http:`. */
  readonly https: string;
  /** Hosts that are asked without one, as `NO_PROXY` lists them. */
  readonly except: string;
}

/** `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in small letters first, as curl reads them; null where no proxy is named. */
export function proxySettings(env: NodeJS.ProcessEnv): ProxySettings | null {
  const value = (name: string): string => (env[name.toLowerCase()] || env[name] || "").trim();
  const [http, https, except] = [value("HTTP_PROXY"), value("HTTPS_PROXY"), value("NO_PROXY")];
  return http === "" && https === "" ? null : { http, https, except };
}

/**
 * A `fetch` that asks through the proxy: `https:` addresses by a tunnel, others by forwarding.
 * @throws KoalaError E_HUB for addresses that are no proxy's; what it gives throws it when the proxy refuses
 */
export async function fetchThrough(proxy: ProxySettings): Promise<typeof fetch> {
  const options = {
    httpProxy: proxyAddress("HTTP_PROXY", proxy.http),
    httpsProxy: proxyAddress("HTTPS_PROXY", proxy.https),
    noProxy: proxy.except,
    proxyTunnel: false, // of plain HTTP: proxies such as Squid allow tunnels to port 443 alone
  };
  const { EnvHttpProxyAgent, fetch: ask } = await import("undici");
  const dispatcher = quietly(() => new EnvHttpProxyAgent(options));
  // the types are of two versions of undici, Node's and the package's
  const through = ask as unknown as (input: unknown, init: object) => Promise<Response>;
  return async (input, init) => {
    try {
      return await through(input, { ...init, dispatcher });
    } catch (error) {
      throw refusal(error, String(input instanceof Request ? input.url : input)) ?? error;
    }
  };
}

/** `host:port` means `http://host:port`, as curl has it. The value may hold a password: no error repeats it. */
function proxyAddress(name: string, value: string): string {
  if (value === "") return "";
  const address = value.includes("://") ? value : `http://${value}`;
  check(URL.canParse(address) && /^https?:/i.test(address), "E_HUB", () => ({
    where: name,
    expected: "the address of an HTTP proxy, http://host:port",
    got: /^[a-z\d+.-]+:\/\//i.exec(value)?.[0] ?? "something else",
  }));
  return address;
}

/** What the proxy answered in the place of a server, or null where it was not that. */
function refusal(error: unknown, url: string): Passing | KoalaError | null {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  // undici has the status in the sentence alone: "Proxy response (407) !== 200 when HTTP Tunneling"
  const found = /^Proxy .*\((\d{3})\)/.exec(cause instanceof Error ? cause.message : "")?.[1];
  if (found === undefined) return null;
  const status = Number(found);
  if (status >= 500) return new Passing(`${status} of the proxy`, networkHint, { status, cause });
  return new KoalaError("E_HUB", {
    where: "the proxy",
    expected: `a way to ${new URL(url).host} and to where it sends us`,
    got: found,
    hint:
      status === 407
        ? "It wants a name and a password: HTTPS_PROXY=http://name:password@host:port."
        : "Ask who keeps it, or name hosts in NO_PROXY that can be reached without.",
    cause,
  });
}

/** Without the warning of undici 6 that its agent is experimental, which no user can heed: the lockfile holds the version. */
function quietly<T>(make: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return make();
  } finally {
    process.emitWarning = emitWarning;
  }
}
