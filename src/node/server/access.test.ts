/** Behind a proxy that speaks TLS, and a browser's way in. */

import { describe, expect, it } from "vitest";
import { type Scene, says, scenes } from "../../../test/server-scene.ts";

const scene = scenes();

describe("behind a proxy with TLS", () => {
  const draw = (s: Scene, headers: Record<string, string>): Promise<Response> =>
    s.ask("POST", "/v1/images/generations", { prompt: "apple", seed: 1 }, headers);
  const address = async (s: Scene, headers: Record<string, string>): Promise<string> => {
    const { data } = (await (await draw(s, headers)).json()) as { data: { url: string }[] };
    return new URL(data[0]?.url ?? "").origin;
  };

  it.each([
    ["koala.example", "https://koala.example"],
    ["koala.example:443", "https://koala.example"],
    ["koala.example:8443", "https://koala.example:8443"],
    ["koala.example", "http://koala.example"],
  ])("takes the page of Host %s from %s, and names pictures as it does", async (host, origin) => {
    const s = await scene({ access: { names: ["koala.example"] } });
    expect((await s.ask("POST", "/api/jobs", { prompt: "apple" }, { host, origin })).status).toBe(202);
    expect(await address(s, { host, origin })).toBe(origin);
  });

  it.each([
    "https://evil.example",
    "https://koala.example:8443",
    "https://koala.example.evil.example",
    "null",
    "ftp://koala.example",
  ])("refuses %s all the same", async (origin) => {
    const s = await scene({ access: { names: ["koala.example"] } });
    expect((await draw(s, { host: "koala.example", origin })).status).toBe(403);
  });

  it("is reached by the address it is told, whatever Host the proxy says", async () => {
    const s = await scene({ access: { url: "https://koala.example" } });
    for (const host of ["koala.example", "127.0.0.1:7700"]) {
      expect(await address(s, { host, origin: "https://koala.example" })).toBe("https://koala.example");
      expect(await address(s, { host })).toBe("https://koala.example");
    }
  });

  it("trusts no header that says where it is reached", async () => {
    const s = await scene({ access: { names: ["koala.example"] } });
    const forwarded = { "x-forwarded-proto": "https", "x-forwarded-host": "evil.example" };
    expect(await address(s, { host: "koala.example", ...forwarded })).not.toMatch(/https|evil/);
  });
});

describe("a page without a token", () => {
  it("is told the way in, and a wrong one is refused", async () => {
    const s = await scene({ access: { tokens: ["secret"] } });
    expect(await says(await s.ask("GET", "/api/models", undefined, { cookie: "koala_token=old" }))).toEqual([
      401,
      "Authorization: expected Bearer and a token of this server, got another one [E_ACCESS]\nOpen /?token=SECRET once.",
    ]);
    expect(await says(await s.ask("GET", "/?token=wrong"))).toEqual([
      401,
      "token: expected one of this server, got another one [E_ACCESS]\nOpen /?token=SECRET once.",
    ]);
  });

  it("needs none where the server has none", async () => {
    expect((await (await scene()).ask("GET", "/?token=any")).status).toBe(200);
  });
});

it("quotes a Host as --allow-host wants it", async () => {
  const s = await scene();
  expect(await says(await s.ask("GET", "/", undefined, { host: "koala.example:8443" }))).toEqual([
    403,
    'Host: expected a name of this server, got "koala.example" [E_HOST]\nkoala serve --allow-host NAME adds one.',
  ]);
});
