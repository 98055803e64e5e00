import { expect, it } from "vitest";
import { run } from "../../../../test/fake-world.ts";
import { memoryFiles } from "../../../weights/memory-files.ts";
import type { HubChange } from "../../hub.ts";
import type { OpenModelOptions } from "../../open-model.ts";
import type { World } from "../world.ts";

const [now, before] = ["0123456789".repeat(4), "abcdef0123".repeat(4)];

/** A world whose hub answers so; null: it is not asked. */
const world = (change: HubChange | null, options: OpenModelOptions[] = []): Partial<World> => ({
  async openModel(location, o: OpenModelOptions) {
    options.push(o);
    if (change !== null) o.onFetched?.(change);
    return memoryFiles(location, { "a.json": "{}", "b.json": "{ }" });
  },
});

it("asks the hub for what is new, and says what came", async () => {
  const options: OpenModelOptions[] = [];
  const { openModel } = world({ files: 2, commit: now, before: null }, options);
  const { out, err } = await run(["download", "owner/name"], {
    world: {
      async openModel(location, o) {
        o.onProgress?.("unet/model.safetensors", 1500, 1500);
        return (openModel as World["openModel"])(location, o);
      },
    },
  });
  expect([out, err]).toEqual([
    "owner/name: 2 files, 5 B; 2 fetched\n",
    "download: unet/model.safetensors, 1.50 kB of 1.50 kB\n",
  ]);
  expect(options.map((o) => o.isRefreshed)).toEqual([true]);
});

it.each<[string, HubChange | null, object]>([
  ["nothing has changed", { files: 0, commit: now, before: now }, { fetched: 0, isChanged: false }],
  ["1 fetched", { files: 1, commit: now, before: now }, { fetched: 1, isChanged: true }],
  [
    "1 fetched, commit 0123456 after abcdef0",
    { files: 1, commit: now, before },
    { fetched: 1, isChanged: true },
  ],
  [
    "nothing to fetch, commit 0123456 after abcdef0",
    { files: 0, commit: now, before },
    { fetched: 0, isChanged: true },
  ],
  ["nothing to fetch", { files: 0, commit: now, before: null }, { fetched: 0, isChanged: true }],
  ["offline or a folder here, so the hub was not asked", null, { fetched: null, isChanged: null }],
])("says whether anything has changed: %s", async (said, change, facts) => {
  const { out } = await run(["download", "owner/name"], { world: world(change) });
  expect(out).toBe(`owner/name: 2 files, 5 B; ${said}\n`);
  const { out: json } = await run(["download", "owner/name", "--json"], { world: world(change) });
  const commit = change?.commit ?? null;
  expect(JSON.parse(json)).toEqual({ model: "owner/name", files: 2, bytes: 5, commit, ...facts });
});

it("takes what a model may be called anywhere else", async () => {
  for (const id of ["a/b@refs/pr/1", "a/b@feature/x", "a/b/c.safetensors", "a/b@v1/c.safetensors"]) {
    const { code } = await run(["download", id], { world: world(null) });
    expect([id, code]).toEqual([id, 0]);
  }
  const { err, code } = await run(["download", "a/b@../c"], { world: world(null) });
  expect([err, code]).toEqual([
    'koala download: expected a hub id, owner/name, got "a/b@../c" [E_FLAG]\n',
    2,
  ]);
});
