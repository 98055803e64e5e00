import { lstat, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { commit, FakeHub, type Fault, gitHash, sha256, weights } from "../../test/fake-hub.ts";
import type { Timing } from "../hub/http.ts";
import { downloadModel, type HubChange, type HubOptions, listModel } from "./hub.ts";
import { hubSettings } from "./hub-cache.ts";

const timing: Timing = { attempts: 3, firstWaitMs: 5, maxWaitMs: 2000, idleMs: 150 };
const unet = "unet/diffusion_pytorch_model.fp16.safetensors";
let hub: FakeHub;
let cache: string;
let endpoint: string;
let o: HubOptions;

beforeEach(async () => {
  hub = new FakeHub();
  endpoint = await hub.start();
  cache = await mkdtemp(join(tmpdir(), "koala-hub-"));
  o = { settings: { endpoint, token: null, cache, isOffline: false }, timing };
});

afterEach(async () => {
  await hub.stop();
  await rm(cache, { recursive: true });
});

const root = (): string => join(cache, "models--owner--name");
const rangesOf = (path: string): (string | undefined)[] =>
  hub.asked.filter((a) => a.path === path).map((a) => a.range);
const errorOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "no error",
    (error) => error.message.replaceAll(endpoint, "HUB"),
  );

describe("what a pipeline needs", () => {
  test("is listed with sizes, half the weights where there are some, nothing that no picture needs", async () => {
    const model = await listModel("owner/name", o);
    expect(model.commit).toBe(commit);
    expect(model.files.map(({ path }) => path).sort()).toEqual([
      "model_index.json",
      "scheduler/scheduler_config.json",
      "tokenizer/merges.txt",
      "tokenizer/vocab.json",
      "unet/config.json",
      unet,
    ]);
    expect(model.totalBytes).toBe(
      model.files.reduce((n, { path }) => n + (hub.files.get(path)?.length ?? 0), 0),
    );
    expect(model.missingBytes).toBe(model.totalBytes);
  });

  test("has the plain weights where they are asked for", async () => {
    const { files } = await listModel("owner/name", { ...o, variant: null });
    expect(files.map(({ path }) => path)).toContain("unet/diffusion_pytorch_model.safetensors");
  });

  test("has the small files alone where its weights are not wanted", async () => {
    const { files } = await listModel("owner/name", { ...o, weightsOf: ["vae"] });
    const paths = files.map(({ path }) => path);
    expect(paths).toContain("unet/config.json");
    expect(paths.filter((path) => path.endsWith(".safetensors"))).toEqual([]);
  });

  test("is one file where one is named, and what PEFT keeps beside an adapter", async () => {
    hub.files.set("a/adapter_model.safetensors", Buffer.alloc(10));
    hub.files.set("a/adapter_config.json", Buffer.from("{}"));
    const { files } = await listModel("owner/name", { ...o, file: "a/adapter_model.safetensors" });
    expect(files.map(({ path }) => path)).toEqual(["a/adapter_model.safetensors", "a/adapter_config.json"]);
  });

  test("is one file where one is named", async () => {
    const file = "sd_xl_base.safetensors";
    expect((await listModel("owner/name", { ...o, file })).files.map(({ path }) => path)).toEqual([file]);
    expect(await errorOf(listModel("owner/name", { ...o, file: "no.safetensors" }))).toBe(
      "owner/name: expected a file no.safetensors, got none of that name [E_HUB]\n" +
        "It has sd_xl_base.safetensors, unet/diffusion_pytorch_model.safetensors, unet/diffusion_pytorch_model.fp16.safetensors, safety_checker/model.safetensors.",
    );
    hub.files = new Map([["README.md", Buffer.from("#")]]);
    expect(await errorOf(listModel("owner/name", { ...o, file: "no.safetensors" }))).toBe(
      "owner/name: expected a file no.safetensors, got none of that name [E_HUB]\nIt has no .safetensors files.",
    );
  });

  test("leaves names out that lead out of the folder", async () => {
    hub.files.set("tokenizer/../../../evil.json", Buffer.from("{}"));
    hub.files.set("tokenizer/..\\evil.json", Buffer.from("{}"));
    const paths = (await listModel("owner/name", o)).files.map(({ path }) => path);
    expect(paths.filter((path) => path.includes("evil"))).toEqual([]);
  });
});

describe("downloading", () => {
  test("fills the cache as huggingface_hub does, and tells progress", async () => {
    const progress: [string, number, number][] = [];
    const snapshot = await downloadModel("owner/name", {
      ...o,
      onProgress: (file, bytes, total) => void progress.push([file, bytes, total]),
    });
    expect(snapshot).toBe(join(root(), "snapshots", commit));
    expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
    expect(await readlink(join(snapshot, unet))).toBe(`../../../blobs/${sha256(weights)}`);
    expect(await readlink(join(snapshot, "model_index.json"))).toBe(
      `../../blobs/${gitHash(hub.files.get("model_index.json") ?? Buffer.alloc(0))}`,
    );
    expect(await readFile(join(root(), "refs/main"), "utf8")).toBe(commit);
    const ofUnet = progress.filter(([file]) => file === unet).map(([, bytes]) => bytes);
    expect(ofUnet).toEqual([...ofUnet].sort((a, b) => a - b));
    expect(progress.filter(([file]) => file === unet).at(-1)).toEqual([unet, weights.length, weights.length]);
  });

  test("fetches nothing twice", async () => {
    await downloadModel("owner/name", o);
    hub.asked.length = 0;
    expect((await listModel("owner/name", o)).missingBytes).toBe(0);
    const told: string[] = [];
    await downloadModel("owner/name", { ...o, onProgress: (file) => void told.push(file) });
    expect([rangesOf(unet), told]).toEqual([[], []]);
  });

  test("continues where a connection was cut, as often as it is", async () => {
    hub.faults.set(
      unet,
      Array.from({ length: 6 }, () => ({ kind: "cut", after: 40_000 })),
    );
    const snapshot = await downloadModel("owner/name", o);
    expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
    const ranges = rangesOf(unet);
    expect(ranges).toHaveLength(7);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.at(-1)).toBe("bytes=240000-");
  });

  test("says what came of it: what was fetched, and which commit is here now and was before", async () => {
    const changes: HubChange[] = [];
    const download = () =>
      downloadModel("owner/name", { ...o, onFetched: (change) => void changes.push(change) });
    await download();
    await download();
    await writeFile(join(root(), "blobs", sha256(weights)), "short");
    await download();
    const next = "f".repeat(40);
    await mkdir(join(root(), "snapshots", next));
    await writeFile(join(root(), "refs/main"), next);
    const snapshot = await download();
    expect(changes).toEqual([
      { files: 6, commit, before: null },
      { files: 0, commit, before: commit },
      { files: 1, commit, before: commit },
      { files: 0, commit, before: next },
    ]);
    expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  });

  test("keeps a revision with slashes where huggingface_hub does", async () => {
    await downloadModel("owner/name", { ...o, revision: "refs/pr/1" });
    expect(await readFile(join(root(), "refs/refs/pr/1"), "utf8")).toBe(commit);
    expect(hub.asked[0]?.path).toBe("/api/models/owner/name/revision/refs%2Fpr%2F1");
  });

  test("waits as long as the hub asks, and tries again after trouble", async () => {
    hub.faults.set("api", [
      { kind: "status", status: 429, headers: { "retry-after": "1" } },
      { kind: "status", status: 503 },
    ]);
    hub.faults.set(unet, [{ kind: "status", status: 500 }]);
    const begin = performance.now();
    await downloadModel("owner/name", o);
    expect(performance.now() - begin).toBeGreaterThan(990);
  });

  test("sends the token to the hub alone", async () => {
    const other = new FakeHub();
    const elsewhere = await other.start();
    try {
      hub.faults.set(unet, [
        {
          kind: "status",
          status: 302,
          headers: { location: `${elsewhere}/owner/name/resolve/${commit}/${unet}` },
        },
      ]);
      await downloadModel("owner/name", {
        ...o,
        settings: { endpoint, token: "hf_secret", cache, isOffline: false },
      });
      expect(new Set(hub.asked.map((a) => a.token))).toEqual(new Set(["Bearer hf_secret"]));
      expect(other.asked.map((a) => a.token)).toEqual([undefined]);
    } finally {
      await other.stop();
    }
  });
});

describe("what goes wrong is a sentence", () => {
  const keep =
    "Check the network and try again: what has been fetched is kept. With --offline only the cache is used.";
  const status = (n: number, headers?: Record<string, string>): Fault => ({
    kind: "status",
    status: n,
    ...(headers ? { headers } : {}),
  });
  const thrice = (fault: Fault): Fault[] => [fault, fault, fault];

  test.each<[string, string, Fault[], string]>([
    [
      "401",
      "api",
      [status(401)],
      "owner/name: expected something that HUB lets you read, got 401 Unauthorized [E_HUB]\nCheck the name. A private or gated model needs a token: set HF_TOKEN.",
    ],
    [
      "403 on a file",
      unet,
      [status(403)],
      `owner/name/${unet}: expected something that HUB lets you read, got 403 Forbidden [E_HUB]\nAccept the model's terms on its page with the account that HF_TOKEN is of, or ask its owner.`,
    ],
    [
      "404",
      "api",
      [status(404)],
      "owner/name: expected something that HUB has, got 404 Not Found [E_HUB]\nCheck the name, the revision and the file.",
    ],
    [
      "an odd status",
      "api",
      [status(418)],
      "owner/name: expected an answer of HUB, got 418 I'm a Teapot [E_HUB]",
    ],
    [
      "429 for good",
      "api",
      thrice(status(429)),
      "owner/name: expected an answer of HUB, got 429 Too Many Requests, 3 times [E_HUB]\nWait some minutes, or set HF_TOKEN: who signs in may ask more often.",
    ],
    [
      "429 for too long",
      "api",
      [status(429, { "retry-after": "300" })],
      "owner/name: expected an answer of HUB, got 429 Too Many Requests, to be asked again in 300 s [E_HUB]\nWait some minutes, or set HF_TOKEN: who signs in may ask more often.",
    ],
    [
      "503 for good",
      unet,
      thrice(status(503)),
      `owner/name/${unet}: expected 300000 bytes, got 503 Service Unavailable, 3 times [E_HUB]\nThe hub has trouble: try again later. What has been fetched is kept.`,
    ],
    [
      "a login page for a list",
      "api",
      [{ kind: "html" }],
      "owner/name: expected an answer of HUB, got a web page [E_HUB]\nSomething answers in the hub's place, such as the login page of a network, or HF_ENDPOINT names no hub.",
    ],
    [
      "a login page for a file",
      unet,
      [{ kind: "html" }],
      `owner/name/${unet}: expected an answer of HUB, got a web page [E_HUB]\nSomething answers in the hub's place, such as the login page of a network, or HF_ENDPOINT names no hub.`,
    ],
    [
      "text that is no list",
      "api",
      [{ kind: "text", text: "hello" }],
      "owner/name: expected an answer of the hub's interface, got something else [E_HUB]\nDoes HF_ENDPOINT name a hub?",
    ],
    [
      "no commit",
      "api",
      [{ kind: "text", text: '{"sha":1}' }],
      "owner/name: expected the commit of the revision, got 1 [E_HUB]",
    ],
    [
      "silence",
      unet,
      thrice({ kind: "stall", after: 0 }),
      `owner/name/${unet}: expected 300000 bytes, got silence for 0.15 s, 3 times [E_HUB]\n${keep}`,
    ],
    [
      "a file that ends early",
      unet,
      thrice({ kind: "truncate", to: 0 }),
      `owner/name/${unet}: expected 300000 bytes, got an end after 0, 3 times [E_HUB]\n${keep}`,
    ],
    [
      "a file that is too long",
      unet,
      [{ kind: "longer" }],
      `owner/name/${unet}: expected 300000 bytes, got more [E_CHECKSUM]\nThe file is not what the hub promises: a proxy may change it. Try another network or HF_ENDPOINT.`,
    ],
    [
      "wrong content, twice",
      unet,
      thrice({ kind: "corrupt" }),
      `owner/name/${unet}: expected SHA-256 ${sha256(weights)}, got ${sha256(Buffer.concat([Buffer.from("X"), weights.subarray(1)]))}, twice [E_CHECKSUM]\n` +
        "The file is not what the hub promises: a proxy may change it, or its copy is damaged. Try another network or HF_ENDPOINT.",
    ],
    [
      "wrong content of a small file, twice",
      "unet/config.json",
      thrice({ kind: "corrupt" }),
      `owner/name/unet/config.json: expected git hash ${gitHash(Buffer.from('{"a":1}'))}, got ${gitHash(Buffer.from('X"a":1}'))}, twice [E_CHECKSUM]\n` +
        "The file is not what the hub promises: a proxy may change it, or its copy is damaged. Try another network or HF_ENDPOINT.",
    ],
  ])("%s", async (_, path, faults, message) => {
    hub.faults.set(path, faults);
    expect(await errorOf(downloadModel("owner/name", o))).toBe(message);
    // nothing wrong ever gets into a snapshot
    expect(await lstat(join(root(), "snapshots", commit, path)).catch(() => null)).toBeNull();
  });

  test("401 with a token speaks of the token", async () => {
    hub.faults.set("api", [status(401)]);
    const settings = { endpoint, token: "hf_old", cache, isOffline: false };
    expect(await errorOf(downloadModel("owner/name", { ...o, settings }))).toBe(
      "owner/name: expected something that HUB lets you read, got 401 Unauthorized [E_HUB]\nCheck the name, and whether the token of HF_TOKEN still holds and may read it.",
    );
  });

  test("one damaged download is repeated", async () => {
    hub.faults.set(unet, [{ kind: "corrupt" }]);
    const snapshot = await downloadModel("owner/name", o);
    expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  });

  test("a hub that is not there", async () => {
    await hub.stop();
    expect(await errorOf(listModel("owner/name", o))).toBe(
      `owner/name: expected an answer of HUB, got a broken connection (ECONNREFUSED), 3 times [E_HUB]\n${keep}`,
    );
  });

  test("a list without hashes", async () => {
    const tree = [{ type: "file", path: "model.safetensors", size: 3 }];
    hub.faults.set("api", [
      { kind: "text", text: JSON.stringify({ sha: commit }) },
      { kind: "text", text: JSON.stringify(tree) },
    ]);
    expect(await errorOf(listModel("owner/name", o))).toBe(
      'owner/name/model.safetensors: expected a hash to check the file with, got "" [E_HUB]',
    );
  });

  test("an answer without end", async () => {
    hub.faults.set("api", [{ kind: "text", text: " ".repeat(16_000_001) }]);
    const patient = { ...o, timing: { ...timing, idleMs: 10_000 } }; // a busy machine pauses amid so much
    expect(await errorOf(listModel("owner/name", patient))).toBe(
      "owner/name: expected an answer of at most 16000000 bytes, got more [E_HUB]",
    );
  });

  test("offline", async () => {
    const message =
      "owner/name: expected leave to use the network, got offline mode [E_OFFLINE]\nLeave out --offline, and unset HF_HUB_OFFLINE.";
    expect(await errorOf(downloadModel("owner/name", { ...o, isOffline: true }))).toBe(message);
    expect(hub.asked).toEqual([]);
  });

  /** A hub with one file of `size` bytes. */
  const listsOne = (size: number): void => {
    const lfs = { oid: "0".repeat(64), size, pointerSize: 1 };
    const tree = [{ type: "file", path: "model.safetensors", size, oid: "0".repeat(40), lfs }];
    hub.faults.set("api", [
      { kind: "text", text: JSON.stringify({ sha: commit }) },
      { kind: "text", text: JSON.stringify(tree) },
    ]);
  };

  test("a disk that is too small for what is missing", async () => {
    listsOne(1e18);
    const message = (await errorOf(downloadModel("owner/name", o)))
      .replaceAll(cache, "CACHE")
      .replace(/got [\d.]+ GB/, "got N GB");
    expect(message).toBe(
      "CACHE: expected room for 1000000000.0 GB, got N GB [E_DISK]\nFree some space, or set HF_HOME to a folder on another disk.",
    );
  });

  test("a revision whose place in the cache is taken", async () => {
    await downloadModel("owner/name", { ...o, revision: "feature" });
    expect(await errorOf(downloadModel("owner/name", { ...o, revision: "feature/x" }))).toBe(
      `${join(root(), "refs/feature/x")}: expected a file that can be written, got a file in a folder's place [E_OUTPUT]`,
    );
  });

  test("a cache that cannot be written", async () => {
    await writeFile(join(cache, "file"), "");
    const settings = { endpoint, token: null, cache: join(cache, "file"), isOffline: false };
    expect(await errorOf(downloadModel("owner/name", { ...o, settings }))).toBe(
      `${join(cache, "file/models--owner--name/snapshots", commit)}: expected a file that can be written, got a file in a folder's place [E_OUTPUT]`,
    );
  });
});

test("the user's stop ends a wait at once", async () => {
  hub.faults.set("api", [{ kind: "status", status: 429, headers: { "retry-after": "2" } }]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("stopped")), 50);
  const begin = performance.now();
  await expect(listModel("owner/name", { ...o, signal: stop.signal })).rejects.toThrow("stopped");
  expect(performance.now() - begin).toBeLessThan(1000);
});

test("the environment says where and who, in huggingface_hub's words", async () => {
  await writeFile(join(cache, "token"), "hf_saved\n");
  expect(
    hubSettings({ HF_HOME: cache, HF_ENDPOINT: "https://mirror.example/", HF_HUB_OFFLINE: "1" }),
  ).toEqual({
    endpoint: "https://mirror.example",
    token: "hf_saved",
    cache: join(cache, "hub"),
    isOffline: true,
  });
  expect(hubSettings({ XDG_CACHE_HOME: "/x", HF_TOKEN: "hf_own" })).toEqual({
    endpoint: "https://huggingface.co",
    token: "hf_own",
    cache: "/x/huggingface/hub",
    isOffline: false,
  });
  expect(hubSettings({ HF_HUB_CACHE: "/y", HF_HOME: "/z" })).toMatchObject({ cache: "/y", token: null });
  expect(hubSettings({ HF_HOME: "/z", HTTPS_PROXY: "http://proxy:3128", NO_PROXY: "a,b" }).proxy).toEqual({
    http: "",
    https: "http://proxy:3128",
    except: "a,b",
  });
});
