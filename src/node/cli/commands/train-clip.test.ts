/** `koala train --part clip` on tiny encoders: whole runs, and what is refused before they begin. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { goldenJson } from "../../../../test/golden.ts";
import { host } from "../../../runtime/host.ts";
import { openSafetensors } from "../../../weights/safetensors.ts";
import { openFolder } from "../../files.ts";
import type { World } from "../world.ts";

inEmptyFolders();
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };
const koala = (...argv: string[]) => run(argv, { world });

/** Flat pictures with captions. */
async function writeData(folder: string, colours: readonly string[]): Promise<void> {
  mkdirSync(folder);
  for (const colour of colours) {
    const picture = { width: 20, height: 16, channels: 3 as const, background: colour };
    writeFileSync(`${folder}/${colour}.png`, await sharp({ create: picture }).png().toBuffer());
    writeFileSync(`${folder}/${colour}.txt`, `a ${colour} square`);
  }
}

/** The config of test/golden/clip.json with so many tokens. */
function writeConfig(vocabulary: number): void {
  const { config } = goldenJson("clip.json");
  const text_config = { ...config.text_config, vocab_size: vocabulary };
  writeFileSync("clip.json", JSON.stringify({ ...config, text_config }));
}

const train = (...argv: string[]) => koala("train", "--part", "clip", "--threads", "1", ...argv);
const flags = ["--data", "data", "--out", "a", "--batch", "3", "--steps", "2", "--checkpoint-every", "1"];
const colours = ["red", "green", "blue", "black", "orange", "purple"];

describe("koala train --part clip", () => {
  it("makes a CLIPModel and its encoders, and goes on bit for bit", { timeout: 60_000 }, async () => {
    await writeData("data", colours);
    await writeData("other", ["white", "yellow"]);
    writeConfig(530);
    const made = await train("--clip", "clip.json", "--held-out", "other", "--sample-every", "2", ...flags);
    expect(made.err).toMatch(/step 2 of 2: [\d.]+ pictures\/s, loss [\d.]+, texts [\d.]+, pictures [\d.]+/);
    expect(made.err).toMatch(/after step 2: accuracy of held-out [\d.]+, accuracy of learned [\d.]+\n/);
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    const tokenizer = ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"];
    expect(readdirSync("a/model")).toEqual(
      [
        ...[
          "config.json",
          "feature_extractor",
          "image_encoder",
          "model.safetensors",
          "preprocessor_config.json",
        ],
        ...["text_encoder", "tokenizer", ...tokenizer],
      ].sort(),
    );
    expect(readdirSync("a/model/tokenizer")).toEqual(tokenizer);
    const config = JSON.parse(readFileSync("a/model/text_encoder/config.json", "utf8"));
    expect(config).toMatchObject({
      ...{ architectures: ["CLIPTextModelWithProjection"], model_type: "clip_text_model" },
      ...{ projection_dim: 24, vocab_size: 530, bos_token_id: 528, eos_token_id: 529, pad_token_id: 529 },
    });
    const files = await openFolder("a/model");
    const names = async (path: string) => [...(await openSafetensors(files, path)).tensors.keys()].sort();
    const [text, image] = [
      await names("text_encoder/model.safetensors"),
      await names("image_encoder/model.safetensors"),
    ];
    expect([text.at(0), image.at(-1)]).toEqual([
      "text_model.embeddings.position_embedding.weight",
      "visual_projection.weight",
    ]);
    expect(await names("model.safetensors")).toEqual([...text, ...image, "logit_scale"].sort());

    const [end, model] = ["a/checkpoints/step-00000002.safetensors", "a/model/model.safetensors"].map(
      (path) => readFileSync(path),
    );
    rmSync("a/checkpoints/step-00000002.safetensors");
    rmSync("a/model", { recursive: true });
    expect((await koala("resume", "a")).err).toContain("goes on after step 1\n");
    expect(readFileSync("a/checkpoints/step-00000002.safetensors").equals(end as Buffer)).toBe(true);
    expect(readFileSync("a/model/model.safetensors").equals(model as Buffer)).toBe(true);
    rmSync("data/red.txt");
    writeFileSync("data/red.txt", "scarlet");
    expect((await koala("resume", "a")).err).toContain(
      "a: expected the data that the run began with, got other pictures, captions or groups [E_CONFIG]\n",
    );

    // the result is where another run begins, with its tokenizer; the same words again and again are too many
    writeFileSync("data/red.txt", "red ".repeat(40));
    const more = await train("--model", "a/model", ...flags, "--out", "b", "--sample-every", "0");
    expect([more.code, more.out]).toEqual([0, "b/model\n"]);
    expect(more.err).toMatch(
      /captions of more than 32 tokens are not learned to their ends, such as "(red ){10}…": red( red)+\n/,
    );
    expect(readFileSync("b/model/vocab.json", "utf8")).toBe(readFileSync("a/model/vocab.json", "utf8"));
  });

  it("with --flips keeps each picture in both ways", { timeout: 60_000 }, async () => {
    await writeData("data", colours);
    writeConfig(530);
    const small = ["--clip", "clip.json", "--sample-every", "0", "--steps", "1", "--cache", "cache"];
    await train(...flags, ...small, "--flips");
    const [pictures = ""] = readdirSync("cache").filter((name) => name.startsWith("pictures-"));
    const shard = await openSafetensors(await openFolder(`cache/${pictures}`), "00000.safetensors");
    const both = [...shard.tensors.keys()].map((name) => name.replace(/^\w+\./, "")).sort();
    expect(both).toEqual([...colours.map(() => "0.states"), ...colours.map(() => "1.states")]);
  });

  it("goes on only with the groups that it began with, by which it is balanced", {
    timeout: 60_000,
  }, async () => {
    await writeData("data", colours);
    writeConfig(530);
    const records = colours.map((colour, i) =>
      JSON.stringify({ file_name: `${colour}.png`, text: `a ${colour} square`, kind: i < 2 ? "a" : "b" }),
    );
    writeFileSync("data/metadata.jsonl", records.join("\n"));
    const made = await train(...flags, "--clip", "clip.json", "--sample-every", "0", "--group", "kind");
    expect(made.code).toBe(0);
    writeFileSync("data/metadata.jsonl", records.join("\n").replace('"kind":"a"', '"kind":"b"'));
    expect((await koala("resume", "a", "--steps", "3")).err).toContain(
      "a: expected the data that the run began with, got other pictures, captions or groups [E_CONFIG]\n",
    );
  });

  it("tells a mistake before it makes a folder", { timeout: 60_000 }, async () => {
    await writeData("data", colours);
    writeConfig(530);
    const failing = async (...argv: string[]): Promise<string> => {
      const { code, err } = await train(...flags, "--sample-every", "0", ...argv);
      expect(code).toBe(2);
      expect(existsSync("a/run.json")).toBe(false);
      return err;
    };
    expect(await failing()).toContain(
      "model: expected either a CLIPModel to begin with, or clip: the config.json of a new one, got neither [E_CONFIG]\n",
    );
    expect(await failing("--clip", "clip.json", "--model", "x")).toContain(
      "model: expected either a CLIPModel to begin with, or clip: the config.json of a new one, got both [E_CONFIG]\n",
    );
    expect(await failing("--clip", "clip.json", "--resolution", "32")).toContain(
      "resolution: expected 16 px, the size of pictures that the encoder reads, got 32 [E_CONFIG]\n",
    );
    expect(await failing("--clip", "clip.json", "--batch", "1")).toContain(
      "batch: expected at least 2 pictures, each to be told from the others, got 1 [E_CONFIG]\n",
    );
    expect(await failing("--clip", "clip.json", "--least-crop", "0")).toContain(
      "--least-crop: expected a number from 0.1 to 1, got 0 [E_CONFIG]\n",
    );
    const tokenizer = resolve(import.meta.dirname, "../../../../models/koala-emoji/tokenizer");
    expect(await failing("--clip", "clip.json", "--tokenizer", tokenizer)).toContain(
      "tokenizer: expected whole ids from 0 to 529, the rows of the text encoder's embedding, got 530 for ",
    );
    const { config } = goldenJson("clip.json");
    const text_config = { ...config.text_config, eos_token_id: 7 };
    writeFileSync("clip.json", JSON.stringify({ ...config, text_config }));
    expect(await failing("--clip", "clip.json", "--tokenizer", tokenizer)).toContain(
      "text_config (eos_token_id): expected 3201, the token that ends a text, got 7 [E_CONFIG]\n",
    );
    writeConfig(5000);
    expect(await failing("--clip", "clip.json")).toMatch(
      /vocabulary: expected at most 5\d\d entries, which is all that these captions make, got 5000 \[E_TOKENIZER\]\n/,
    );
    writeFileSync("clip.json", JSON.stringify({ ...config, vision_config: null }));
    expect(await failing("--clip", "clip.json")).toContain(
      "clip.json (vision_config): expected a JSON object, got nothing [E_CONFIG]\n",
    );
  });
});
