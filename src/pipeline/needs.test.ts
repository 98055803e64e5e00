import { expect, it } from "vitest";
import { needsInFourBits } from "./needs.ts";

it("KOALA-700M in 4 bits: what koala quantize makes of it, and SDXL's decoder at 1024 px as the largest buffer", () => {
  const needs = needsInFourBits("koala-lightning-700m", 1024);
  // docs/quantization.md measured 449 + 513 + 167 MB, with the encoder half of the VAE that is not fetched apart
  expect(needs.downloadBytes / 1e6).toBeGreaterThan(1000);
  expect(needs.downloadBytes / 1e6).toBeLessThan(1129);
  expect(needs.bufferBytes).toBe(4 * 256 * 1024 * 1024); // 256 channels at full size, float32
  expect(needs.bufferOf).toMatch(/^vae: decoder\.up_blocks\./);
  expect(needs.memoryBytes).toBeGreaterThan(2 * needs.bufferBytes);
});

it("smaller pictures need smaller buffers", () => {
  expect(needsInFourBits("koala-700m", 512).bufferBytes).toBeLessThan(
    needsInFourBits("koala-700m", 1024).bufferBytes,
  );
});
