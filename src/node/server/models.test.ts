import { expect, it } from "vitest";
import { emojiModel } from "../../../test/model-folder.ts";
import { openServed } from "./models.ts";

const place = { location: emojiModel, engine: "ort" };

it("a served model has the precisions that are allowed and that its engine has; the first is the usual one", async () => {
  const model = await openServed("koala-emoji", place, ["bf16", "int4", "f32"]);
  expect(model.precisions).toEqual(["int4", "f32"]);
  expect(model.resolve({ prompt: "" }).precision).toBe("int4");
  expect(model.resolve({ prompt: "", precision: "f32" }).precision).toBe("f32");
  const plain = await openServed("koala-emoji", place, ["f32", "int4"]);
  expect(plain.resolve({ prompt: "" }).precision).toBeUndefined();
});

it("has all that its engine has where none is named, the model's own usual one first", async () => {
  const usual = await openServed("koala-emoji", place, null);
  expect(usual.precisions).toEqual(["f32", "int8", "int4"]);
  const packed = await openServed("koala-emoji", { ...place, precision: "int4" }, null);
  expect(packed.precisions).toEqual(["int4", "f32", "int8"]);
  expect(packed.resolve({ prompt: "" }).precision).toBe("int4");
  expect(packed.unit).toBe(8); // a request's step: the factor of its VAE is 4
});

it("is not served where it has none of them", async () => {
  await expect(openServed("koala-emoji", place, ["bf16"])).rejects.toThrow(
    "--precisions: expected at least one that koala-emoji has on ort: f32, int8, int4, got bf16 [E_FLAG]",
  );
});
