/** `koala generate --image` and `--mask`: what the pipeline is given, and mistakes with them. */

import { writeFileSync } from "node:fs";
import sharp from "sharp";
import { expect, it } from "vitest";
import { FakeGenerator, inEmptyFolders, run } from "../../../../test/fake-world.ts";

inEmptyFolders();

/** A PNG of one colour. */
async function paint(file: string, width: number, height: number, background = "#ff0000"): Promise<string> {
  await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toFile(file);
  return file;
}

it("starts from a picture with its shape, and draws at the usual strength", async () => {
  const generator = new FakeGenerator();
  const image = await paint("red.png", 40, 20);
  const { err, code } = await run(["generate", "apple", "--image", image, "--seed", "1"], { generator });
  expect(code).toBe(0);
  expect(err).toContain("4 steps at strength 0.75, euler trailing, guidance 3.5, 16 x 8, seed 1");
  expect(generator.start.image).toMatchObject({ width: 16, height: 8 });
  expect([...(generator.start.image?.data.subarray(0, 3) ?? [])]).toEqual([255, 0, 0]);
  expect(generator.start.mask).toBeUndefined();
});

it("takes a mask of the picture's size, a size and a strength", async () => {
  const generator = new FakeGenerator();
  const files = [await paint("red.png", 40, 40), await paint("mask.png", 40, 40, "white")] as const;
  const flags = ["--image", files[0], "--mask", files[1], "--width", "32", "--strength", "0.5"];
  const { err } = await run(["generate", "apple", ...flags], { generator });
  expect(err).toContain("4 steps at strength 0.5");
  expect(generator.start.mask).toMatchObject({ width: 32, height: 32 });
});

it("leaves the picture as it is where the mask's surroundings are drawn, at the model's own size", async () => {
  const generator = new FakeGenerator();
  const files = [await paint("red.png", 60, 40), await paint("mask.png", 60, 40, "white")] as const;
  const flags = ["--image", files[0], "--mask", files[1], "--padding-mask-crop", "32"];
  const { err, code } = await run(["generate", "apple", ...flags, "--masked-content", "fill"], { generator });
  expect(code).toBe(0);
  expect(err).toContain("4 steps at strength 1, euler trailing, guidance 3.5, 16 x 8 around the mask, seed");
  expect(generator.start.image).toMatchObject({ width: 60, height: 40 });
  expect(generator.start.mask).toMatchObject({ width: 60, height: 40 });
});

it("asks for the mask of a record that has a padding", async () => {
  const [image, mask] = [await paint("red.png", 16, 8), await paint("mask.png", 16, 8, "white")];
  const flags = ["--image", image, "--padding-mask-crop", "4", "--seed", "1"];
  await run(["generate", "apple", ...flags, "--mask", mask, "--output", "a.png"]);
  const { code, err } = await run(["generate", "--from", "a.png", "--image", image]);
  expect(code).toBe(2);
  expect(err).toContain("--mask: expected the mask that a.png was drawn with, got nothing");
});

it("asks for the picture of a record that has a strength", async () => {
  const image = await paint("red.png", 16, 8);
  await run(["generate", "apple", "--image", image, "--output", "a.png", "--seed", "1"]);
  const { code, err } = await run(["generate", "--from", "a.png"]);
  expect(code).toBe(2);
  expect(err).toContain("--image: expected the picture that a.png was started from, got nothing");
  expect((await run(["generate", "--from", "a.png", "--image", image, "--output", "b.png"])).code).toBe(0);
});

it.each([
  [["--mask", "m.png"], "--image: expected the picture that --mask is for, got nothing"],
  [["--strength", "0.5"], "--image: expected a picture, beside --strength, got nothing"],
  [
    ["--image", "red.png", "--padding-mask-crop", "8"],
    "--mask: expected a mask of what is drawn anew, beside --padding-mask-crop, got nothing",
  ],
  [
    ["--image", "red.png", "--masked-content", "fill"],
    "--mask: expected a mask of what is drawn anew, beside --masked-content, got nothing",
  ],
  [
    ["--image", "red.png", "--mask", "red.png", "--masked-content", "fil"],
    '--masked-content: expected one of original, fill, noise, nothing, got "fil"',
  ],
  [["--image", "none.png"], "none.png: expected a picture that can be read, got no such file"],
  [["--image", "text.png"], "text.png: expected a picture of a format that sharp reads"],
  [
    ["--image", "red.png", "--mask", "m.png"],
    "--mask: expected 16 x 8 px, the size of red.png, got 8 x 8 px",
  ],
  [
    ["--image", "red.png", "--strength", "0.1"],
    "strength: expected at least 0.25 at 4 steps, so that one is taken, got 0.1",
  ],
  [["--image", "red.png", "--strength", "2"], "--strength: expected a number from 0 to 1, got 2"],
])("refuses %j", async (flags, message) => {
  await paint("red.png", 16, 8);
  await paint("m.png", 8, 8);
  writeFileSync("text.png", "no picture");
  const { code, err } = await run(["generate", "apple", ...flags]);
  expect(code).toBe(2);
  expect(err).toContain(message);
});
