import { expect, test } from "vitest";
import { memoryFiles } from "./memory-files.ts";

test("files in memory are read by range", async () => {
  const files = memoryFiles("m", { "a.txt": "über", "b.bin": Uint8Array.of(1, 2) });
  expect(await files.list()).toEqual(["a.txt", "b.bin"]);
  expect(await files.size("a.txt")).toBe(5);
  expect(await files.read("b.bin", 1, 2)).toEqual(Uint8Array.of(2));
  expect(files.localPath("a.txt")).toBeNull();
  await expect(files.read("b.bin", 0, 3)).rejects.toThrow("m/b.bin: expected 3 bytes, got 2 [E_FILE]");
  await expect(files.size("c")).rejects.toThrow("m/c: expected a file, got nothing [E_FILE]");
});
