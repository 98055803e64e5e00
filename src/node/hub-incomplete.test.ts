import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  abandonedMs,
  bytesLeft,
  claimIncomplete,
  incompletePath,
  machine,
  releaseIncomplete,
} from "./hub-incomplete.ts";

const size = 100;
/** Above Linux's greatest process number. */
const dead = 2 ** 22 + 1;
let folder: string;
let blob: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-incomplete-"));
  blob = join(folder, "ab".repeat(32));
});

afterEach(() => rm(folder, { recursive: true }));

const leave = async (path: string, bytes: number, ageMs = 0): Promise<void> => {
  await writeFile(path, Buffer.alloc(bytes));
  const then = new Date(Date.now() - ageMs);
  await utimes(path, then, then);
};
/** How many bytes a new download begins with. */
const claimed = async (): Promise<number> =>
  (await stat(await claimIncomplete(blob, size)).catch(() => null))?.size ?? 0;

test("the name says which process of which machine collects, beside huggingface_hub's and never the same", async () => {
  const mine = await claimIncomplete(blob, size);
  expect(mine).toMatch(/^.*\.koala\.\d+-\d+-.+\.incomplete$/);
  expect(mine).toContain(`.koala.${process.pid}-`);
  expect(mine).toContain(machine());
  expect(machine()).toContain(hostname().slice(0, 10));
  expect(basename(incompletePath(blob, dead, 99, "h".repeat(64))).length).toBeLessThan(255);
});

test("what was left on purpose is taken over, once", async () => {
  const first = await claimIncomplete(blob, size);
  await leave(first, 60);
  await releaseIncomplete(first, blob);
  expect(await readdir(folder)).toEqual([`${basename(blob)}.koala.incomplete`]);
  expect(await bytesLeft(blob, size)).toBe(60);
  expect([await claimed(), await claimed()]).toEqual([60, 0]);
});

test("what a killed process of this machine left is taken over, the most of it, not what a living one is writing", async () => {
  await leave(incompletePath(blob, process.pid, 1000, machine()), 90);
  await leave(incompletePath(blob, dead, 0, machine()), 40);
  await leave(incompletePath(blob, dead, 1, machine()), 50);
  expect(await bytesLeft(blob, size)).toBe(50);
  expect(await claimed()).toBe(50);
});

test("what another machine or container writes is left alone until it has not changed for an hour", async () => {
  for (const on of ["elsewhere-1", `${hostname()}-1`]) {
    const theirs = incompletePath(blob, dead, 0, on);
    await leave(theirs, 70, abandonedMs - 60_000);
    expect([on, await bytesLeft(blob, size), await claimed()]).toEqual([on, 0, 0]);
    await leave(theirs, 70, abandonedMs + 60_000);
    expect([on, await bytesLeft(blob, size), await claimed()]).toEqual([on, 70, 70]);
  }
});

test("what huggingface_hub collects is never taken, however old", async () => {
  await leave(`${blob}.incomplete`, 80, 10 * abandonedMs);
  await leave(`${blob}.1234abcd.incomplete`, 80, 10 * abandonedMs);
  expect(await bytesLeft(blob, size)).toBe(0);
  expect(await claimed()).toBe(0);
  expect((await readFile(`${blob}.incomplete`)).length).toBe(80);
});

test("more than the blob has is of no use, and taken last", async () => {
  await leave(incompletePath(blob, dead, 0, machine()), size + 1);
  expect(await bytesLeft(blob, size)).toBe(0);
  await leave(incompletePath(blob, dead, 1, machine()), 30);
  expect(await bytesLeft(blob, size)).toBe(30);
  expect([await claimed(), await claimed()]).toEqual([30, size + 1]);
});

test("a cache without the folder has nothing left", async () => {
  expect(await bytesLeft(join(folder, "no/such"), size)).toBe(0);
});
