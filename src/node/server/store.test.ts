import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, expect, it } from "vitest";
import { defaults } from "../../../test/fake-world.ts";
import { accepted, scenes } from "../../../test/server-scene.ts";
import { resolveRequest } from "../../pipeline/request.ts";
import { Store } from "./store.ts";

const scene = scenes();
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-store-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const found = (store: Store, search: string): string[] =>
  store.list({ owner: "", limit: 9, search }).map(({ request }) => request.prompt);

it("searches prompts without regard to case and to how a letter is written", async () => {
  const s = await scene();
  for (const prompt of ["Äpfel im ГОРОД", "a\u0308pfel", "apple"]) await accepted(s, { prompt });
  for (const search of ["äpfel", "ÄPFEL", "A\u0308pfel"])
    expect(found(s.store, search)).toEqual(["a\u0308pfel", "Äpfel im ГОРОД"]);
  expect(found(s.store, "город")).toEqual(["Äpfel im ГОРОД"]);
  expect(found(s.store, "APPLE")).toEqual(["apple"]);
  expect(found(s.store, "%")).toEqual([]);
});

it("lists jobs with what each starts from", async () => {
  const s = await scene();
  const png = new Uint8Array(1);
  const owner = { owner: "", client: "here", isAwaited: false, model: "koala-emoji" };
  const request = resolveRequest({ prompt: "apple", seed: 1 }, defaults);
  for (const start of [null, { image: png, mask: null }, { image: png, mask: png }])
    s.jobs.create({ ...owner, request, start });
  expect(s.store.list({ owner: "", limit: 9 }).map(({ start }) => start)).toEqual([
    { hasMask: true },
    { hasMask: false },
    null,
  ]);
});

it("opens a folder of before pictures had marks, prompts were folded and tries counted", async () => {
  const old = new Database(join(folder, "koala.db"));
  old.exec(`
    create table jobs (
      id text primary key, owner text not null, client text not null, awaited integer not null, model text not null,
      request text not null, prompt text not null, state text not null, favourite integer not null default 0,
      created integer not null, started integer, ended integer, error text
    );
    create table pictures (
      job text not null, number integer not null, seed integer not null, facts text, primary key (job, number)
    );
    insert into jobs values ('a', '', '', 0, 'm', '{"prompt":"Äpfel"}', 'Äpfel', 'done', 1, 1, 1, 2, null);
    insert into pictures values ('a', 0, 7, '{}');
  `);
  old.close();
  for (let i = 0; i < 2; i++) {
    const store = await Store.open(folder);
    expect(found(store, "äpfel")).toEqual(["Äpfel"]);
    expect(store.get("a")?.tries).toBe(0);
    expect(store.get("a")?.pictures).toEqual([{ index: 0, seed: 7, isFavourite: true }]);
    store.close();
  }
});
