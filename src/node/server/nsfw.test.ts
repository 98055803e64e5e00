import { afterEach, describe, expect, it } from "vitest";
import { fakeVerdict } from "../../../test/fake-crew.ts";
import { openScene, type Scene, type SceneOptions } from "../../../test/server-scene.ts";
import { KoalaError } from "../../core/errors.ts";
import type { JobView } from "./job.ts";

const scenes: Scene[] = [];
async function scene(o: SceneOptions = {}): Promise<Scene> {
  const opened = await openScene(o);
  scenes.push(opened);
  return opened;
}
afterEach(async () => {
  for (const opened of scenes.splice(0)) await opened.remove();
});

const says = async (response: Response): Promise<unknown> => [
  response.status,
  ((await response.json()) as { error: { message: string } }).error.message,
];
const accepted = async (s: Scene, body: object): Promise<JobView> =>
  (await (await s.ask("POST", "/api/jobs", body)).json()) as JobView;

describe("the check of explicit pictures", () => {
  it("says at every door what was found", async () => {
    const s = await scene({ nsfw: "flag" });
    const nsfw = fakeVerdict("flag");
    const job = await accepted(s, { prompt: "a", seed: 1 });
    await s.jobs.ended(job.id);
    expect((await (await s.ask("GET", `/api/jobs/${job.id}`)).json()) as JobView).toMatchObject({
      pictures: [{ seed: 1, nsfw, residentBytes: 1 }],
    });
    const openai = await s.ask("POST", "/v1/images/generations", {
      prompt: "a",
      response_format: "b64_json",
    });
    expect(((await openai.json()) as { data: unknown[] }).data).toEqual([
      { b64_json: expect.any(String), nsfw },
    ]);
    const a1111 = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a" });
    const { info } = (await a1111.json()) as { info: string };
    expect(JSON.parse(info).nsfw).toEqual([nsfw]);
    expect(await (await s.ask("GET", "/metrics")).text()).toContain("koala_explicit_pictures_total 3");
  });

  it("is off by default: nothing is said", async () => {
    const s = await scene();
    const job = await accepted(s, { prompt: "a", seed: 1 });
    await s.jobs.ended(job.id);
    const { pictures } = (await (await s.ask("GET", `/api/jobs/${job.id}`)).json()) as JobView;
    expect(Object.keys(pictures[0] ?? {})).not.toContain("nsfw");
  });

  it("answers a refusal as the client's to mend", async () => {
    const s = await scene({ nsfw: "refuse" });
    s.crew.before = async () => {
      const data = { where: "picture", expected: "one that this server may show", got: "another one" };
      throw new KoalaError("E_REFUSED", data);
    };
    expect(await says(await s.ask("POST", "/v1/images/generations", { prompt: "a" }))).toEqual([
      400,
      "picture: expected one that this server may show, got another one [E_REFUSED]",
    ]);
  });
});

it("a count that no number can be made of is the client's fault", async () => {
  const s = await scene();
  const response = await s.ask("POST", "/sdapi/v1/txt2img", { prompt: "a", batch_size: { toString: 1 } });
  expect(await says(response)).toEqual([
    400,
    'batch_size: expected a whole number from 1 to 64, got {"toString":1} [E_REQUEST]',
  ]);
});
