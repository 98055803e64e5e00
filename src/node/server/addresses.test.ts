import { describe, expect, it } from "vitest";
import { redisUrl } from "./addresses.ts";

describe("--redis", () => {
  it.each(["redis://127.0.0.1:6379", "rediss://:secret@redis.example/1"])("takes %s", (text) =>
    expect(redisUrl(text).href).toBe(text));
  it.each([
    ["foo", '"foo"'],
    ["redis:foo", '"redis:foo"'],
    ["http://a", '"http://a"'],
    ["redis://me:s@cret@:x", '"redis://…@:x"'],
  ])("refuses %s", (text, got) =>
    expect(() => redisUrl(text)).toThrow(
      `--redis: expected an address such as redis://127.0.0.1:6379, got ${got} [E_FLAG]`,
    ));
});
