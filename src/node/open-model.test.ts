import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { HubChange } from "./hub.ts";
import { openModel, parseHubLocation } from "./open-model.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
const content = Buffer.from("weights");
const oid = createHash("sha256").update(content).digest("hex");

let home: string;
let server: Server;
let asked: string[];
let settings: { endpoint: string; token: null; cache: string; isOffline: boolean };

/** A hub with one model, `owner/name`, of one file. */
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "koala-open-"));
  asked = [];
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://hub");
    asked.push(pathname);
    if (pathname.endsWith(`/resolve/${commit}/x.safetensors`)) response.end(content);
    else if (pathname.startsWith("/api/models/owner/name/revision/"))
      response.end(JSON.stringify({ sha: commit }));
    else if (pathname.startsWith("/api/models/owner/name/tree/")) {
      const lfs = { oid, size: content.length, pointerSize: 1 };
      response.end(
        JSON.stringify([{ type: "file", path: "x.safetensors", size: content.length, oid: "", lfs }]),
      );
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  settings = { endpoint, token: null, cache: join(home, "cache"), isOffline: false };
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(home, { recursive: true });
});

const errorOf = (location: string, isOffline = false): Promise<string> =>
  openModel(location, { settings, isOffline }).then(
    () => "no error",
    (error) => error.message.replaceAll(home, "HOME").replaceAll(settings.endpoint, "HUB"),
  );

test("a folder and a file are taken as they are", async () => {
  await mkdir(join(home, "m"));
  await writeFile(join(home, "m/a.safetensors"), "");
  expect(await (await openModel(join(home, "m"))).list()).toEqual(["a.safetensors"]);
  expect(await (await openModel(join(home, "m/a.safetensors"))).list()).toEqual(["a.safetensors"]);
  expect(asked).toEqual([]);
});

test("a hub id is fetched once; what is complete here is opened without the network", async () => {
  const snapshot = join(settings.cache, "models--owner--name/snapshots", commit);
  await openModel("owner/name", { settings });
  asked.length = 0;
  await openModel("owner/name", { settings });
  expect(asked.filter((path) => path.includes("resolve"))).toEqual([]); // a lone checkpoint: the hub is asked what else there is
  await writeFile(join(snapshot, "config.json"), "{}");
  asked.length = 0;
  await openModel("owner/name", { settings });
  expect(asked).toEqual([]);
});

test("where it is asked to refresh, the hub is asked though all is here, and what is damaged or old is fetched", async () => {
  const changes: HubChange[] = [];
  const refresh = (isOffline = false) =>
    openModel("owner/name", {
      ...{ settings, isOffline, isRefreshed: true },
      onFetched: (change) => void changes.push(change),
    });
  await refresh();
  const root = join(settings.cache, "models--owner--name");
  await writeFile(join(root, "snapshots", commit, "config.json"), "{}"); // no lone checkpoint: it is complete
  await refresh();
  await writeFile(join(root, "blobs", oid), "short");
  await refresh();
  expect(await readFile(join(root, "blobs", oid))).toEqual(content);

  const old = "e".repeat(40);
  await mkdir(join(root, "snapshots", old));
  for (const name of ["x.safetensors", "config.json"])
    await writeFile(join(root, "snapshots", old, name), "{}");
  await writeFile(join(root, "refs/main"), old);
  expect(await (await openModel("owner/name", { settings })).size("x.safetensors")).toBe(2);
  expect(await (await refresh()).size("x.safetensors")).toBe(content.length);
  expect(await readFile(join(root, "refs/main"), "utf8")).toBe(commit);
  expect(changes).toEqual([
    { files: 1, commit, before: null },
    { files: 0, commit, before: commit },
    { files: 1, commit, before: commit },
    { files: 0, commit, before: old },
  ]);

  asked.length = 0;
  await refresh(true);
  expect([asked, changes.length]).toEqual([[], 4]);
});

test("a revision may have slashes, and is found again offline", async () => {
  await openModel("owner/name@refs/pr/1", { settings });
  expect(asked[0]).toBe("/api/models/owner/name/revision/refs%2Fpr%2F1");
  asked.length = 0;
  await openModel("owner/name@refs/pr/1", { settings, isOffline: true });
  await openModel("owner/name@refs/pr/1/x.safetensors", { settings, isOffline: true });
  expect(asked).toEqual([]);
});

test("a hub id in the cache is opened offline", async () => {
  const files = await openModel("owner/name", { settings });
  expect([files.location, await files.list()]).toEqual(["owner/name", ["x.safetensors"]]);
  expect(files.localPath("x.safetensors")).toBe(join(settings.cache, "models--owner--name/blobs", oid));
  asked.length = 0;
  await openModel("owner/name", { settings, isOffline: true });
  await openModel(`owner/name@${commit}/x.safetensors`, { settings, isOffline: true });
  expect(asked).toEqual([]);
});

test("one file of a repository can be named", async () => {
  const files = await openModel("owner/name/x.safetensors", { settings });
  expect([files.location, await files.list()]).toEqual(["owner/name", ["x.safetensors"]]);
});

test("what is nowhere is named, with all that was tried", async () => {
  await mkdir(join(home, "koala-700m"));
  expect(await errorOf(join(home, "koala-70m"))).toBe(
    "HOME/koala-70m: expected a model's folder, a .safetensors file, or a hub id (owner/name), got no file or folder of that name [E_MODEL]\nDid you mean HOME/koala-700m?",
  );
  expect(await errorOf("./nothing/at/all")).toBe(
    "./nothing/at/all: expected a model's folder, a .safetensors file, or a hub id (owner/name), got no file or folder of that name [E_MODEL]",
  );
  expect(await errorOf("owner/other")).toBe(
    "owner/other: expected a folder, a .safetensors file, or a model on HUB, got no such file or folder, and from the hub 404 Not Found [E_MODEL]\nCheck the name, the revision and the file.",
  );
});

test("other kinds of files are refused", async () => {
  await writeFile(join(home, "a.ckpt"), "");
  await writeFile(join(home, "a.txt"), "");
  expect(await errorOf(join(home, "a.ckpt"))).toBe(
    "HOME/a.ckpt: expected a folder or a .safetensors file, got another kind of file [E_MODEL]\nA pickle can run code when it is opened, so none is read: convert it to safetensors first.",
  );
  expect(await errorOf(join(home, "a.txt"))).toBe(
    "HOME/a.txt: expected a folder or a .safetensors file, got another kind of file [E_MODEL]",
  );
});

test("offline, what is missing in the cache is named", async () => {
  const message = (got: string, location = "owner/name") =>
    `${location}: expected the model in the cache HOME/cache, got ${got} [E_OFFLINE]\nFetch it once with the network on: koala download ${location}`;
  expect(await errorOf("owner/name", true)).toBe(message("nothing of it"));
  const snapshot = join(settings.cache, "models--owner--name/snapshots", commit);
  await mkdir(snapshot, { recursive: true });
  await mkdir(join(settings.cache, "models--owner--name/refs"));
  await writeFile(join(settings.cache, "models--owner--name/refs/main"), commit);
  await writeFile(join(snapshot, "config.json"), "{}");
  expect(await errorOf("owner/name", true)).toBe(message("it without weights"));
  expect(await errorOf("owner/name/x.safetensors", true)).toBe(
    message("no x.safetensors of it", "owner/name/x.safetensors"),
  );
  expect(asked).toEqual([]);
});

test("hub ids are told from paths", () => {
  expect(parseHubLocation("owner/name")).toEqual({ id: "owner/name", revision: undefined, file: undefined });
  expect(parseHubLocation("a-b/c.d@v1/sub/x.safetensors")).toEqual({
    id: "a-b/c.d",
    revision: "v1",
    file: "sub/x.safetensors",
  });
  const parts = (location: string) => {
    const { id, revision, file } = parseHubLocation(location) ?? {};
    return [id, revision, file];
  };
  expect(parts("a/b@refs/pr/1")).toEqual(["a/b", "refs/pr/1", undefined]);
  expect(parts("a/b@feature/x")).toEqual(["a/b", "feature/x", undefined]);
  expect(parts("a/b@refs/pr/12/sub/x.safetensors")).toEqual(["a/b", "refs/pr/12", "sub/x.safetensors"]);
  expect(parts("a/b@refs/convert/fp16/x.safetensors")).toEqual(["a/b", "refs/convert/fp16", "x.safetensors"]);
  expect(parts("a/b@feature%2Fx/sub/x.safetensors")).toEqual(["a/b", "feature/x", "sub/x.safetensors"]);
  expect(parts("a/b@x.safetensors")).toEqual(["a/b", "x.safetensors", undefined]);
  for (const revision of [
    "",
    "/x",
    "x/",
    "x//y",
    ".x",
    "x/.y",
    "x.lock",
    "x.",
    "x y",
    "a:b",
    "a~1",
    "a^",
    "@",
  ])
    expect(parseHubLocation(`a/b@${revision}`), revision).toBeNull();
  for (const revision of ["..", "%2E%2E/x", "x%2F%2E%2E%2Fy", "%", "%00", "a\\b", "a@{1}", "x?", "x*", "x["])
    expect(parseHubLocation(`a/b@${revision}`), revision).toBeNull();
  for (const path of ["./a/b", "/a/b", "../a", "~/a/b", "name", "a/b/c", "a/..", "a\\b/c"]) {
    expect(parseHubLocation(path), path).toBeNull();
  }
});

test("of a pipeline in the cache only the weights that are wanted must be there", async () => {
  const snapshot = join(settings.cache, "models--owner--name/snapshots", commit);
  await mkdir(join(snapshot, "tokenizer"), { recursive: true });
  await mkdir(join(settings.cache, "models--owner--name/refs"));
  await writeFile(join(settings.cache, "models--owner--name/refs/main"), commit);
  await writeFile(join(snapshot, "tokenizer/vocab.json"), "{}");
  await writeFile(
    join(snapshot, "model_index.json"),
    '{"_class_name":"P","unet":["diffusers","UNet2DConditionModel"],"tokenizer":["transformers","CLIPTokenizer"]}',
  );
  const files = await openModel("owner/name", { settings, isOffline: true, weightsOf: ["vae"] });
  expect(await files.list()).toEqual(["model_index.json", "tokenizer/vocab.json"]);
  expect(await errorOf("owner/name", true)).toContain("got it without unet [E_OFFLINE]");
  expect(asked).toEqual([]);
});

test("an adapter's weights are opened with the config that PEFT keeps beside them", async () => {
  for (const name of ["adapter_model.safetensors", "other.safetensors", "adapter_config.json"])
    await writeFile(join(home, name), "{}");
  const listed = async (name: string) => (await openModel(join(home, name))).list();
  expect(await listed("adapter_model.safetensors")).toEqual([
    "adapter_model.safetensors",
    "adapter_config.json",
  ]);
  expect(await listed("other.safetensors")).toEqual(["other.safetensors"]);
  await rm(join(home, "adapter_config.json"));
  expect(await listed("adapter_model.safetensors")).toEqual(["adapter_model.safetensors"]);
});

test("the model that comes along has its name everywhere, and a preset's name is told the weights", async () => {
  expect(await (await openModel("koala-emoji", { settings })).list()).toContain("model_index.json");
  expect(await errorOf("koala-700m")).toBe(
    "koala-700m: expected a model's folder, a .safetensors file, or a hub id (owner/name), got no file or folder of that name [E_MODEL]\nkoala-700m is a preset; weights for it are etri-vilab/koala-700m.",
  );
  expect(asked).toEqual([]);
});
