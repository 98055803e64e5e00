import { expect, test } from "vitest";
import { adapterConfigOf, headerScale, peftScale } from "./lora-scale.ts";

const layer = (module: string, part = "unet") => ({ part, module });
const toQ = layer("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q");
const toK = layer("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k");

/** What PEFT 0.21.2 writes for `LoraConfig(r=2, lora_alpha=6, alpha_pattern={"to_k": 3}, rank_pattern={"to_k": 4})`, in part. */
const config = {
  lora_alpha: 6,
  r: 2,
  alpha_pattern: { to_k: 3 },
  rank_pattern: { to_k: 4 },
  use_rslora: false,
};

test("PEFT's config: alpha by rank, by a pattern's alpha, by the root of the rank", () => {
  const scale = peftScale(config, "x");
  expect([scale(toQ, 2), scale(toK, 4)]).toEqual([3, 0.75]);
  const root = peftScale({ ...config, use_rslora: true }, "x"); // PEFT's own `scaling` there: 4.2426…, 1.5
  expect([root(toQ, 2), root(toK, 4)]).toEqual([6 / Math.sqrt(2), 1.5]);
  expect(peftScale({ r: 4, alpha_pattern: null }, "x")(toQ, 4)).toBe(2); // PEFT's default alpha is 8
});

test("patterns are names' ends, whole names, or regular expressions; the first that matches counts", () => {
  const of = (key: string, module: string) =>
    peftScale({ alpha_pattern: { [key]: 1 } }, "x")(layer(module), 1);
  expect([of("b.to_k", "a.b.to_k"), of("to_k", "a.b.not_to_k"), of("to_k", "to_k")]).toEqual([1, 8, 1]);
  expect([of("^b.to_k", "a.b.to_k"), of("^a.b", "a.b")]).toEqual([8, 1]);
  expect([of("a\\.\\d+\\.to_k", "x.a.12.to_k"), of("to_(q|k)", "x.to_v")]).toEqual([1, 8]);
  const both = peftScale({ alpha_pattern: { to_k: 1, "b.to_k": 2 } }, "x");
  expect(both(layer("b.to_k"), 1)).toBe(1);
});

test("diffusers' header speaks part by part", () => {
  const fields = Object.entries(config).map(([key, value]) => [`unet.${key}`, value]);
  const text = JSON.stringify({ ...Object.fromEntries(fields), "text_encoder.lora_alpha": 5 });
  const scale = headerScale(new Map([["lora_adapter_metadata", text]]), "f");
  expect([scale?.(toQ, 2), scale?.(toK, 4)]).toEqual([3, 0.75]);
  expect(scale?.(layer("a", "text_encoder"), 10)).toBe(0.5);
  expect(scale?.(layer("a", "text_encoder_2"), 10)).toBe(1);
  expect(headerScale(new Map([["format", "pt"]]), "f")).toBeNull();
});

test("what is no config is named", () => {
  const said = (text: string) => headerScale(new Map([["lora_adapter_metadata", text]]), "f");
  expect(() => said("{")).toThrow("f (lora_adapter_metadata): expected a JSON object, got null [E_CONFIG]");
  expect(() => said('{"unet.lora_alpha":"16"}')).toThrow(
    'f (lora_adapter_metadata): lora_alpha: expected a number, got "16" [E_CONFIG]',
  );
  expect(() => peftScale({ alpha_pattern: { "to_(k": 1 } }, "c")).toThrow(
    'c: alpha_pattern: expected names of layers, or regular expressions for them, got "to_(k" [E_CONFIG]',
  );
});

test("the config lies beside PEFT's weights alone", () => {
  expect(adapterConfigOf("adapter_model.safetensors")).toBe("adapter_config.json");
  expect(adapterConfigOf("a/adapter_model.safetensors")).toBe("a/adapter_config.json");
  expect(adapterConfigOf("my_adapter_model.safetensors")).toBeNull();
});
