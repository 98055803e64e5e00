import { expect, it } from "vitest";
import { scenes } from "../../../test/server-scene.ts";

const scene = scenes();

it.each([
  ["gpt-image-1", undefined, "b64_json"],
  ["chatgpt-image-latest", undefined, "b64_json"],
  ["gpt-image-1", null, "b64_json"],
  ["gpt-image-1", "url", "url"],
  ["dall-e-3", undefined, "url"],
  ["dall-e-3", "b64_json", "b64_json"],
  [undefined, undefined, "url"],
])("answers %s with response_format %s by %s, as OpenAI's models do", async (model, format, key) => {
  const s = await scene();
  const asked = { prompt: "apple", model, response_format: format };
  const { data } = (await (await s.ask("POST", "/v1/images/generations", asked)).json()) as {
    data: object[];
  };
  expect(data.map(Object.keys)).toEqual([[key]]);
});

it("refuses a model that cannot be written as text", async () => {
  const s = await scene();
  const reply = await s.ask("POST", "/v1/images/generations", { prompt: "apple", model: { toString: 1 } });
  expect(reply.status).toBe(400);
  expect(await reply.json()).toMatchObject({ error: { code: "E_MODEL", field: "model" } });
});
