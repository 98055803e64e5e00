import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeHub, weights } from "../../test/fake-hub.ts";
import type { Timing } from "../hub/http.ts";
import { downloadModel, listModel } from "./hub.ts";
import type { HubSettings } from "./hub-cache.ts";
import { proxySettings } from "./hub-proxy.ts";

const timing: Timing = { attempts: 2, firstWaitMs: 5, maxWaitMs: 100, idleMs: 2000 };
const unet = "unet/diffusion_pytorch_model.fp16.safetensors";

/** A proxy on this machine that forwards, tunnels, and remembers what it was asked. */
class FakeProxy {
  readonly asked: string[] = [];
  /** What it answers, unless it lets through. */
  status = 200;
  /** What came first through the last tunnel. */
  greeting: Buffer | undefined;
  private readonly server: Server = createServer((from, to) => {
    this.asked.push(`${from.method} ${from.url}`);
    if (this.status !== 200) return void to.writeHead(this.status).end();
    const onward = request(from.url ?? "", { method: from.method, headers: from.headers }, (answer) => {
      to.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(to);
    });
    onward.on("error", () => to.destroy());
    from.pipe(onward);
  }).on("connect", (from, socket) => {
    const { "proxy-authorization": password } = from.headers;
    this.asked.push(`CONNECT ${from.url}${password === undefined ? "" : ` ${password}`}`);
    socket.on("error", () => {});
    if (this.status !== 200) return void socket.end(`HTTP/1.1 ${this.status} No\r\n\r\n`);
    const [host, port] = (from.url ?? "").split(":");
    const onward = connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      socket.once("data", (bytes) => {
        this.greeting = bytes;
      });
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    socket.on("close", () => onward.destroy());
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

let hub: FakeHub;
let proxy: FakeProxy;
let cache: string;
let [endpoint, address] = ["", ""];

beforeEach(async () => {
  hub = new FakeHub();
  proxy = new FakeProxy();
  [endpoint, address] = [await hub.start(), await proxy.start()];
  cache = await mkdtemp(join(tmpdir(), "koala-proxy-"));
});

afterEach(async () => {
  await proxy.stop();
  await hub.stop();
  await rm(cache, { recursive: true });
});

/** Settings of a cache of its own in an environment. */
const settings = (env: NodeJS.ProcessEnv, to = endpoint): HubSettings => {
  const through = proxySettings(env);
  return {
    ...{ endpoint: to, token: null, cache, isOffline: false },
    ...(through === null ? {} : { proxy: through }),
  };
};
const errorOf = (env: NodeJS.ProcessEnv, to?: string): Promise<string> =>
  listModel("owner/name", { settings: settings(env, to), timing }).then(
    () => "no error",
    (error) => error.message.replaceAll(new URL(to ?? endpoint).host, "HOST"),
  );

test("a model comes through the proxy that the environment names, without a warning", async () => {
  const warned = vi.spyOn(process, "emitWarning");
  const o = { settings: settings({ http_proxy: address }), timing };
  const snapshot = await downloadModel("owner/name", o);
  expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  expect(proxy.asked.length).toBe(hub.asked.length);
  expect(proxy.asked[0]).toContain(`GET ${endpoint}/api/models/owner/name/revision/main?`);
  expect(warned).not.toHaveBeenCalled();
});

test("what stopped amid a file goes on through the proxy, from the byte where it was", async () => {
  hub.faults.set(unet, [{ kind: "cut", after: 40_000 }]);
  await downloadModel("owner/name", { settings: settings({ HTTP_PROXY: `http://${address}` }), timing });
  expect(hub.asked.filter(({ path }) => path === unet).map(({ range }) => range)).toEqual([
    undefined,
    "bytes=40000-",
  ]);
});

test("a secure hub is reached by a tunnel, with the proxy's password, and speaks TLS through it", async () => {
  const env = { HTTPS_PROXY: `http://koala:secret@${address}` };
  await errorOf(env, endpoint.replace("http:", "https:"));
  const basic = Buffer.from("koala:secret").toString("base64");
  expect(proxy.asked[0]).toBe(`CONNECT ${new URL(endpoint).host} Basic ${basic}`);
  expect(proxy.greeting?.[0]).toBe(0x16); // TLS' handshake record, RFC 8446 section 5.1
});

test("hosts of NO_PROXY are asked without", async () => {
  expect(await errorOf({ HTTP_PROXY: address, NO_PROXY: "other, 127.0.0.1" })).toBe("no error");
  expect(await errorOf({ HTTP_PROXY: address, no_proxy: "*" })).toBe("no error");
  expect(proxy.asked).toEqual([]);
});

test("small letters go first, empty values name no proxy", () => {
  expect(proxySettings({ https_proxy: "a", HTTPS_PROXY: "b", NO_PROXY: " x " })).toEqual({
    http: "",
    https: "a",
    except: "x",
  });
  expect(proxySettings({ https_proxy: "", HTTPS_PROXY: "b" })).toMatchObject({ https: "b" });
  expect(proxySettings({ HTTPS_PROXY: " ", NO_PROXY: "x" })).toBeNull();
});

test("what the proxy refuses is a sentence, without its password", async () => {
  const secure = endpoint.replace("http:", "https:");
  const env = { HTTPS_PROXY: `http://koala:secret@${address}` };
  proxy.status = 407;
  expect(await errorOf(env, secure)).toBe(
    "the proxy: expected a way to HOST and to where it sends us, got 407 [E_HUB]\nIt wants a name and a password: HTTPS_PROXY=http://name:password@host:port.",
  );
  expect(proxy.asked.length).toBe(1);
  const { host } = new URL(endpoint);
  expect((await errorOf({ HTTP_PROXY: address })).split("\n")[0]?.replace(host, "HOST")).toBe(
    "the proxy: expected a way to HOST and to where it sends us, got 407 [E_HUB]",
  );
  proxy.status = 403;
  expect(await errorOf(env, secure)).toBe(
    "the proxy: expected a way to HOST and to where it sends us, got 403 [E_HUB]\nAsk who keeps it, or name hosts in NO_PROXY that can be reached without.",
  );
  proxy.status = 502;
  expect(await errorOf(env, secure)).toBe(
    "owner/name: expected an answer of https://HOST, got 502 of the proxy, 2 times [E_HUB]\nCheck the network and try again: what has been fetched is kept. With --offline only the cache is used.",
  );
});

test("an address that is no HTTP proxy's is a sentence, without its password", async () => {
  const message = (name: string, got: string) =>
    `${name}: expected the address of an HTTP proxy, http://host:port, got ${got} [E_HUB]`;
  expect(await errorOf({ HTTPS_PROXY: "socks5://koala:secret@host:1" })).toBe(
    message("HTTPS_PROXY", "socks5://"),
  );
  expect(await errorOf({ HTTP_PROXY: "koala:secret@@:x" })).toBe(message("HTTP_PROXY", "something else"));
});
