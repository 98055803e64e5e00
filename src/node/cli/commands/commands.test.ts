/** The commands beside `generate`. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { openFolder } from "../../files.ts";
import { withText } from "../../png-text.ts";
import { checkRoom } from "../new-folder.ts";

inEmptyFolders();

describe("koala engines", () => {
  const engines = async () => [
    { name: "ort", isAvailable: true, detail: "ONNX Runtime 1.30" },
    { name: "webgpu", isAvailable: false, detail: "no adapter" },
  ];

  it("lists what is there and why the rest is not", async () => {
    const { out } = await run(["engines"], { world: { engines } });
    expect(out).toBe("ort     yes  ONNX Runtime 1.30\nwebgpu  no   no adapter\n");
    expect(JSON.parse((await run(["engines", "--json"], { world: { engines } })).out)).toEqual(
      await engines(),
    );
  });
});

describe("koala init and koala inspect", () => {
  it("write a folder of random weights, the same from the same seed, and say what is in it", async () => {
    const { out, code } = await run(["init", "tiny", "made", "--seed", "3", "--quiet"]);
    expect(out).toMatch(/^made: tiny, [\d,]+ random parameters from seed 3, [\d.]+ MB in float32\n$/);
    expect(code).toBe(0);
    await run(["init", "tiny", "again", "--seed", "3", "--quiet"]);
    const weights = "unet/diffusion_pytorch_model.safetensors";
    expect(readFileSync(join("again", weights)).equals(readFileSync(join("made", weights)))).toBe(true);
    expect(readdirSync(".")).toEqual(["again", "made"]);

    const { out: said } = await run(["inspect", "made", "--json"], { world: { openModel: openFolder } });
    const { out: asPreset } = await run(["inspect", "tiny", "--json"]);
    const [model, preset] = [JSON.parse(said), JSON.parse(asPreset)];
    expect(model.networks).toEqual(preset.networks);
    expect(model.unet).toEqual(preset.unet);
  });

  it("leave nothing of a folder that Ctrl-C stopped", async () => {
    const onInterrupt = (stop: () => void) => {
      stop();
      return () => {};
    };
    const { code, err } = await run(["init", "tiny", "made", "--quiet"], { world: { onInterrupt } });
    expect([code, err, readdirSync(".")]).toEqual([130, "", []]);
  });

  it("say when there is no place or no room for a folder", async () => {
    writeFileSync("file", "");
    const { code, err } = await run(["init", "tiny", "file/made"]);
    expect(err).toBe(
      `file/made: expected a file that can be written, got a file in a folder's place [E_OUTPUT]\n`,
    );
    expect(code).toBe(2);
    await expect(checkRoom(".", 1e18, "made")).rejects.toThrow(
      /^made: expected 1000000 TB of free space, got [\d.]+ [kMGT]?B \[E_DISK\]\nFree some space, or write somewhere else\.$/,
    );
  });

  it("count the paper's U-Nets to the unit", async () => {
    const { out } = await run(["inspect"]);
    // facts of the published files, section 1.1 of the project's fact sheet
    for (const count of ["865,910,724", "2,567,463,684", "1,161,184,324", "782,822,724"])
      expect(out).toContain(count);
    for (const published of ["865M", "10.3GB", "[0, 2, 6]", "[0, 2, 5]"]) expect(out).toContain(published);
  });

  it("print what a picture records", async () => {
    await run(["generate", "apple", "--seed", "1", "--output", "a.png"]);
    const { out } = await run(["inspect", "a.png"]);
    expect(out).toMatch(/^a\.png {2}16 x 8 px\n\napple\nSteps: 4, Sampler: Euler/);
    expect(out).toMatch(/\nseed {13}1\n/);
    expect(JSON.parse((await run(["inspect", "a.png", "--json"])).out)).toMatchObject({
      file: "a.png",
      request: { prompt: "apple" },
    });
  });

  it("let no picture write control sequences to the terminal", async () => {
    await run(["generate", "apple", "--output", "a.png"]);
    const evil = { koala: JSON.stringify({ model: "\u001b[2J", request: { prompt: "\u009b31m" } }) };
    const bare = readFileSync("a.png");
    const start = bare.indexOf("IDAT") - 4; // the text chunks lie between the header and the data
    writeFileSync("evil.png", withText(Buffer.concat([bare.subarray(0, 33), bare.subarray(start)]), evil));
    const { out } = await run(["inspect", "evil.png"]);
    expect(out).toContain("\nmodel            \ufffd[2J\nprompt           \ufffd31m\n");
    const { err } = await run(["generate", "--from", "evil.png"]);
    expect(err).toContain("which is \ufffd[2J, got nothing");
  });
});
