import { expect, it } from "vitest";
import { pack, unpack } from "./packed.ts";

it("what is packed comes out as it was, arrays of odd lengths too", () => {
  const value = {
    words: ["a", "äß"],
    looks: [
      { self: Float32Array.of(1.5, -2, 3), features: { scores: Float64Array.of(Math.PI), shares: [0.5] } },
      { self: new Float32Array(0), features: null },
    ],
    picture: { width: 1, data: Uint8Array.of(1, 2, 3, 4, 5) },
  };
  const bytes = pack(value);
  expect(unpack(bytes)).toEqual(value);
  const shifted = new Uint8Array(bytes.length + 3); // as a body may lie in a larger buffer
  shifted.set(bytes, 3);
  expect(unpack(shifted.subarray(3))).toEqual(value);
});

it("refuses arrays that it has no name for", () => {
  expect(() => pack({ ids: BigInt64Array.of(1n) })).toThrow(
    "pack: expected an array of float32, float64, uint8, got BigInt64Array [E_INTERNAL]",
  );
});
