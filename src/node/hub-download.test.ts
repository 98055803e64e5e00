/** What interrupted downloads leave, and what else writes into the cache meanwhile. */

import { appendFileSync, readdirSync } from "node:fs";
import fs, { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeHub, sha256, weights } from "../../test/fake-hub.ts";
import { downloadModel, type HubOptions } from "./hub.ts";

const unet = "unet/diffusion_pytorch_model.fp16.safetensors";
let hub: FakeHub;
let cache: string;
let o: HubOptions;

beforeEach(async () => {
  hub = new FakeHub();
  cache = await mkdtemp(join(tmpdir(), "koala-hub-"));
  o = {
    settings: { endpoint: await hub.start(), token: null, cache, isOffline: false },
    timing: { attempts: 3, firstWaitMs: 5, maxWaitMs: 2000, idleMs: 2000 },
  };
});

afterEach(async () => {
  await hub.stop();
  await rm(cache, { recursive: true });
});

const root = (): string => join(cache, "models--owner--name");
const blobs = async (): Promise<string[]> => (await readdir(join(root(), "blobs"))).sort();
/** Where an interrupted download of the weights leaves what it has. */
const leftover = (): string => join(root(), "blobs", `${sha256(weights)}.koala.incomplete`);
/** What a second program does that takes the file for its own. */
function appendToIncomplete(): void {
  const folder = join(root(), "blobs");
  for (const name of readdirSync(folder))
    if (name.endsWith(".incomplete")) appendFileSync(join(folder, name), "more");
}
const rangesOf = (path: string): (string | undefined)[] =>
  hub.asked.filter((a) => a.path === path).map((a) => a.range);
const errorOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "no error",
    (error) => error.message,
  );

test("continues in the next run what the last one left", async () => {
  const stop = new AbortController();
  hub.faults.set(unet, [{ kind: "stall", after: 70_000 }]);
  const first = downloadModel("owner/name", {
    ...o,
    signal: stop.signal,
    onProgress: (file, bytes) =>
      void (file === unet && bytes === 70_000 && stop.abort(new Error("stopped by the user"))),
  });
  await expect(first).rejects.toThrow("stopped by the user");
  expect(await blobs()).toContain(`${sha256(weights)}.koala.incomplete`);
  await downloadModel("owner/name", o);
  expect(rangesOf(unet)).toEqual([undefined, "bytes=70000-"]);
  expect((await blobs()).filter((name) => name.includes("incomplete"))).toEqual([]);
});

test("leaves alone what huggingface_hub is collecting", async () => {
  await mkdir(join(root(), "blobs"), { recursive: true });
  const theirs = join(root(), "blobs", `${sha256(weights)}.incomplete`);
  await writeFile(theirs, weights.subarray(0, 1000));
  await downloadModel("owner/name", o);
  expect(rangesOf(unet)).toEqual([undefined]);
  expect((await readFile(theirs)).length).toBe(1000);
});

test("begins again where another program has written into the file", async () => {
  let isFirst = true;
  const snapshot = await downloadModel("owner/name", {
    ...o,
    onProgress(file, bytes, total) {
      if (file === unet && bytes === total && isFirst) {
        appendToIncomplete();
        isFirst = false;
      }
    },
  });
  expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  expect(rangesOf(unet)).toEqual([undefined, undefined]);
});

test("begins again where the server ignores ranges or the leftover is too long", async () => {
  await mkdir(join(root(), "blobs"), { recursive: true });
  await writeFile(leftover(), weights.subarray(0, 1000));
  hub.faults.set(unet, [{ kind: "ignore range" }]);
  const snapshot = await downloadModel("owner/name", o);
  expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  await rm(join(root(), "blobs", sha256(weights)));
  await writeFile(leftover(), Buffer.alloc(weights.length + 1));
  await downloadModel("owner/name", o);
  expect(rangesOf(unet)).toEqual(["bytes=1000-", undefined]);
});

test("begins again where the hub knows no such range", async () => {
  await mkdir(join(root(), "blobs"), { recursive: true });
  await writeFile(leftover(), weights.subarray(0, 1000));
  hub.faults.set(unet, [{ kind: "status", status: 416 }]);
  await downloadModel("owner/name", o);
  expect(rangesOf(unet)).toEqual(["bytes=1000-", undefined]);
});

test("repairs a leftover that is damaged", async () => {
  await mkdir(join(root(), "blobs"), { recursive: true });
  await writeFile(leftover(), Buffer.alloc(weights.length - 5));
  const snapshot = await downloadModel("owner/name", o);
  expect(weights.equals(await readFile(join(snapshot, unet)))).toBe(true);
  expect(rangesOf(unet)).toEqual([`bytes=${weights.length - 5}-`, undefined]);
});

test("a file that another program goes on writing into", async () => {
  const message = await errorOf(
    downloadModel("owner/name", {
      ...o,
      onProgress: (file, bytes, total) => void (file === unet && bytes === total && appendToIncomplete()),
    }),
  );
  expect(message.replace(/into \/.*: end/, "into FILE: end")).toBe(
    `owner/name/${unet}: expected 300000 bytes on the disk, got 300004, twice [E_CHECKSUM]\nAnother program writes into FILE: end it, then try again.`,
  );
  expect(await blobs()).not.toContain(sha256(weights));
});

test("a disk with room for what an interrupted download lacks is none of it", async () => {
  await mkdir(join(root(), "blobs"), { recursive: true });
  await writeFile(leftover(), weights.subarray(0, weights.length - 500));
  const asked = vi.spyOn(fs, "statfs").mockResolvedValue({ bavail: 1000, bsize: 1 } as never);
  syncBuiltinESMExports(); // for those who import it by its name
  try {
    expect(await errorOf(downloadModel("owner/name", o))).toBe("no error");
  } finally {
    asked.mockRestore();
    syncBuiltinESMExports();
  }
});
