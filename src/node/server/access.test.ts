/** Behind a proxy that speaks TLS, a browser's way in, and whose history is whose. */

import { cpSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { accepted, type Scene, says, scenes } from "../../../test/server-scene.ts";
import type { JobView } from "./job.ts";

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

describe("a history", () => {
  const listed = async (s: Scene, secret: string): Promise<unknown> => {
    const answer = await s.ask("GET", "/api/jobs", undefined, { authorization: `Bearer ${secret}` });
    if (answer.status !== 200) return answer.status;
    return ((await answer.json()) as { jobs: JobView[] }).jobs.map(({ request }) => request.prompt);
  };
  /** The next start of a server, with other tokens. */
  const again = async (s: Scene, tokens: readonly string[]): Promise<Scene> => {
    await s.jobs.close();
    const folder = `${s.folder}-again`;
    cpSync(s.folder, folder, { recursive: true });
    return scene({ folder, access: { tokens } });
  };

  it("is still there with a first token, with a second one, and with another secret of a name", async () => {
    let s = await scene();
    await s.jobs.ended((await accepted(s, { prompt: "apple" })).id);
    s = await again(s, ["one"]);
    expect(await listed(s, "one")).toEqual(["apple"]);
    s = await again(s, ["bob=two", "one"]);
    expect([await listed(s, "one"), await listed(s, "two")]).toEqual([["apple"], []]);
    const ofBob = await accepted(s, { prompt: "pear" }, { authorization: "Bearer two" });
    await s.jobs.ended(ofBob.id);
    s = await again(s, ["uno", "bob=new"]);
    expect([await listed(s, "uno"), await listed(s, "new")]).toEqual([["apple"], ["pear"]]);
    expect([await listed(s, "two"), await listed(s, "bob=new")]).toEqual([401, 401]);
  });
});

it("quotes a Host as --allow-host wants it", async () => {
  const s = await scene();
  expect(await says(await s.ask("GET", "/", undefined, { host: "koala.example:8443" }))).toEqual([
    403,
    'Host: expected a name of this server, got "koala.example" [E_HOST]\nkoala serve --allow-host NAME adds one.',
  ]);
});
