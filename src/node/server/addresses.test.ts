import { describe, expect, it } from "vitest";
import { hostName, redisUrl, webOrigin } from "./addresses.ts";

describe("--allow-host", () => {
  it.each([
    ["koala.example", "koala.example"],
    ["Koala.Example:8443", "koala.example"],
    ["10.0.0.1:80", "10.0.0.1"],
    ["[fe80::1]:80", "fe80::1"],
    ["FE80::1", "fe80::1"],
  ])("takes %s as %s", (text, name) => expect(hostName(text)).toBe(name));

  it.each(["https://a.example", "a.example/x", "a.example:", "*.example", "a b", ""])("refuses %o", (text) =>
    expect(() => hostName(text)).toThrow(
      `--allow-host: expected a name such as koala.example, without a scheme and a path, got ${JSON.stringify(text)} [E_FLAG]`,
    ));
});

it.each([
  "koala.example",
  "https://koala.example/",
  "https://koala.example:443",
  "ftp://a.example",
  "",
])("no browser writes %o as an origin", (text) =>
  expect(() => webOrigin("--url", text)).toThrow(
    `--url: expected an origin such as https://example.org, without a path, got ${JSON.stringify(text)} [E_FLAG]`,
  ));

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
