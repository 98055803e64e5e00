/** Views through sharp, against Pillow's picture in test/fixtures/data. */

import { readFileSync } from "node:fs";
import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { psnr } from "../../image/psnr.ts";
import { mirror, planView, type View, type ViewOptions } from "../../train/data/view.ts";
import { readPicture } from "../image-file.ts";
import { decodeView, pictureSize, viewOf } from "./decode.ts";

const fixtures = "test/fixtures/data";
const options: ViewOptions = {
  buckets: [{ width: 16, height: 16 }],
  crop: "center",
  hasFlips: false,
  views: 1,
  seed: 0,
  minSide: 8,
};
const bytes = new Uint8Array(readFileSync(`${fixtures}/picture.png`));
const size = { width: 40, height: 30 };
const view = planView(size, "hash", 0, options);

/** Two pixels beside each other as a picture file. */
const pair = (pixels: readonly number[], channels: 1 | 2 | 4): Sharp =>
  sharp(Uint8Array.from(pixels), { raw: { width: 2, height: 1, channels } });

/** All of a picture of 2 x 1. */
const whole: View = {
  original: { width: 2, height: 1 },
  resized: { width: 2, height: 1 },
  left: 0,
  top: 0,
  target: { width: 2, height: 1 },
  isFlipped: false,
};

describe("a decoded view", () => {
  it("is what Pillow's Lanczos and diffusers' crop make of the picture", async () => {
    const expected = await readPicture(`${fixtures}/view.png`);
    // sharp rounds its Lanczos weights otherwise than Pillow: 54.6 dB
    expect(psnr(await decodeView(bytes, view, "white"), expected)).toBeGreaterThan(50);
  });

  it("is the crop of the mirrored picture where it is mirrored", async () => {
    const flipped = { ...view, isFlipped: true, left: 4 };
    const crop = await decodeView(bytes, flipped, "white");
    const all = { ...view, left: 0, target: view.resized };
    const { data } = mirror(await decodeView(bytes, all, "white"));
    const expected = Array.from({ length: 16 }, (_, row) => [
      ...data.subarray(3 * (row * 21 + 4), 3 * (row * 21 + 20)),
    ]);
    expect([...crop.data]).toEqual(expected.flat());
  });

  it("is upright, on the background that is asked for, and has three channels", async () => {
    const alpha = await pair([255, 0, 0, 255, 0, 0, 0, 0], 4).png().toBuffer();
    expect((await decodeView(alpha, whole, "white")).data).toEqual(Uint8Array.of(255, 0, 0, 255, 255, 255));
    expect((await decodeView(alpha, whole, "#00ff00")).data).toEqual(Uint8Array.of(255, 0, 0, 0, 255, 0));
    for (const grey of [pair([10, 200], 1), pair([10, 255, 200, 255], 2)]) {
      const file = await grey.toColourspace("b-w").png().toBuffer();
      expect((await decodeView(file, whole, "white")).data).toEqual(Uint8Array.of(10, 10, 10, 200, 200, 200));
    }
    const turned = await sharp(bytes).withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer();
    expect(await pictureSize(turned)).toEqual({ width: 30, height: 40 });
    const upright = planView({ width: 30, height: 40 }, "hash", 0, options);
    const expected = await sharp(bytes).rotate(90).png().toBuffer();
    const [a, b] = [await decodeView(turned, upright, "white"), await decodeView(expected, upright, "white")];
    expect(psnr(a, b)).toBeGreaterThan(30);
  });

  it("of a picture that is none, cut short or too small is not there, and says why", async () => {
    const none = await viewOf(new TextEncoder().encode("hello"), "hash", 0, options);
    expect(none).toEqual({
      kind: "broken",
      reason:
        "picture: expected a PNG, JPEG or WebP file that is whole, got Input buffer contains unsupported image format [E_IMAGE]",
    });
    const small = await viewOf(bytes, "hash", 0, { ...options, minSide: 64 });
    expect(small).toEqual({
      kind: "too small",
      reason: "picture: expected sides of at least 64 px, got 40x30 px [E_IMAGE]",
    });
    expect(await viewOf(bytes, "hash", 0, options)).toEqual(view);
    const jpeg = await sharp(bytes).resize(400, 300).jpeg().toBuffer();
    for (const file of [bytes, jpeg]) {
      const cut = file.subarray(0, Math.floor(file.length / 2));
      const { width, height } = await pictureSize(cut);
      await expect(decodeView(cut, planView({ width, height }, "h", 0, options), "white")).rejects.toThrow(
        /^picture: expected a PNG, JPEG or WebP file that is whole, got .* \[E_IMAGE\]$/,
      );
    }
  });
});
