import { expect, it } from "vitest";
import { KoalaError } from "../../core/errors.ts";
import { hash, holdersOf } from "./tokens.ts";

it("takes what is before the first = for a name, and all else for a secret", () => {
  expect(holdersOf(["ann=a=b", "Bob_2-x=c"])).toEqual([
    { owner: "ann", secret: "a=b" },
    { owner: "Bob_2-x", secret: "c" },
  ]);
  const plain = ["c2VjcmV0=", "c2VjcmV0cw==", "=a", "a+b/c=d", `${"n".repeat(33)}=a`, "secret"];
  for (const secret of plain) expect(holdersOf([secret])).toEqual([{ owner: "", secret }]);
});

it("leaves the first secret without a name to the owner of a server without tokens, whatever comes", () => {
  expect(holdersOf([])).toEqual([]);
  expect(holdersOf(["bob=b", "a", "c"])).toEqual([
    { owner: "bob", secret: "b" },
    { owner: "", secret: "a" },
    { owner: "2e7d2c03a9507ae2", secret: "c" }, // sha256sum's first 16 digits
  ]);
});

it.each([
  [["ann=a", "ann=b"], "names and secrets that differ, got ann twice"],
  [["ann=a", "bob=a"], "names and secrets that differ, got a secret twice"],
  [["a", "a"], "names and secrets that differ, got a secret twice"],
  [
    ["a", "b", `${hash("b").toString("hex").slice(0, 16)}=c`],
    "names and secrets that differ, got 3e23e8160039594a twice",
  ],
  [[""], "printable letters without spaces, got nothing"],
  [["a b"], "printable letters without spaces, got others"],
])("refuses %o", (tokens, sentence) => {
  expect(() => holdersOf(tokens)).toThrow(`--token: expected ${sentence} [E_FLAG]`);
  expect(() => holdersOf(tokens)).toThrow(KoalaError);
});
