/** Files of prompts. */

import { writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { inEmptyFolders } from "../../../test/fake-world.ts";
import { promptLines } from "./prompt-file.ts";

inEmptyFolders();

it("are lines that say something", async () => {
  writeFileSync("prompts.txt", "\uFEFFa fox\r\n\n  りんご  \n");
  expect(await promptLines("prompts.txt", "--calibrate")).toEqual(["a fox", "りんご"]);
});

it("are refused where they are no text", async () => {
  const sentence = "--calibrate: expected a text file of prompts, one a line, got a.png [E_FLAG]\n";
  await expect(promptLines("a.png", "--calibrate")).rejects.toThrow(
    `${sentence}There is no such file, or it may not be read.`,
  );
  for (const bytes of [Buffer.from([0x89, 0x50, 0x4e, 0x47, 10, 26]), Buffer.from("a\0b\n")]) {
    writeFileSync("a.png", bytes);
    await expect(promptLines("a.png", "--calibrate")).rejects.toThrow(`${sentence}It is no text in UTF-8.`);
  }
});
