import { homedir } from "node:os";
import { expect, test } from "vitest";
import { programFolder } from "./program-folder.ts";

test("compiled programs lie in the user's cache folder", () => {
  expect(programFolder({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/koala-diffusion/programs");
  expect(programFolder({})).toBe(`${homedir()}/.cache/koala-diffusion/programs`);
  expect(programFolder({ XDG_CACHE_HOME: "" })).toBe(`${homedir()}/.cache/koala-diffusion/programs`);
});
