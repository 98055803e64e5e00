import { expect, it } from "vitest";
import { memoryFrom, vaeFrom } from "./flags.ts";

it("--memory takes sizes as people write them", () => {
  expect(memoryFrom("2GB")).toBe(2e9);
  expect(memoryFrom("1500 mb")).toBe(1.5e9);
  expect(memoryFrom("2.5GiB")).toBe(2.5 * 2 ** 30);
  expect(memoryFrom(undefined)).toBeUndefined();
});

it.each(["lots", "2", "-1GB", "0GB", ""])("--memory %j is refused", (text) => {
  expect(() => memoryFrom(text)).toThrow(
    `--memory: expected a size such as 4GB, 1500MB or 2GiB, got ${JSON.stringify(text)} [E_FLAG]`,
  );
});

it("--vae names what there is", () => {
  expect(vaeFrom("tiled")).toEqual({ vae: "tiled" });
  expect(() => vaeFrom("stripes")).toThrow(
    `--vae: expected one of auto, full, tiled, tiny, or a VAE's folder or hub id, got "stripes" [E_FLAG]`,
  );
});
