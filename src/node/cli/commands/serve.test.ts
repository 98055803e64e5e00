import { expect, it } from "vitest";
import { welcome } from "./serve.ts";

const told = (hasPage: boolean): string =>
  welcome({ url: "http://127.0.0.1:7700", hasPage }, ["koala-emoji"], {
    tokens: ["ann=a&b", "c"],
    data: "/data",
  });

it("tells where everything is", () => {
  expect(told(true)).toBe(
    [
      "  Studio  http://127.0.0.1:7700/?token=a%26b",
      "  OpenAI  http://127.0.0.1:7700/v1",
      "  A1111   http://127.0.0.1:7700",
      "  API     http://127.0.0.1:7700/openapi.json",
      "  Models  koala-emoji",
      "  Data    /data",
      "  Ctrl-C stops.\n",
    ].join("\n"),
  );
});

it("tells how the page is built where it is not", () => {
  expect(told(false)).toContain(
    "  Studio  not built here: npm run studio builds it; all else works without\n  OpenAI",
  );
});
