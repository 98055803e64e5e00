/** `koala generate`, its mistakes and its help, in a world of the test's own. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { defaults, FakeGenerator, inEmptyFolders, run } from "../../../test/fake-world.ts";
import { encodePicture, readPicture } from "../image-file.ts";
import { readText } from "../png-text.ts";
import { packageRoot, packageVersion } from "./package.ts";
import type { Generator } from "./world.ts";

inEmptyFolders();

describe("koala generate", () => {
  it("writes a picture named after its prompt and seed, and says its name alone on stdout", async () => {
    const ran = await run(["generate", "A red apple, on a table!", "--seed", "42"]);
    expect(ran.out).toBe("koala-a-red-apple-on-a-table-42.png\n");
    expect(ran.code).toBe(0);
    expect(await readPicture("koala-a-red-apple-on-a-table-42.png")).toMatchObject({ width: 16, height: 8 });
    expect(readdirSync(".")).toEqual(["koala-a-red-apple-on-a-table-42.png"]);
  });

  it("tells a pipe about its phases in plain lines, with the model's defaults", async () => {
    const { err } = await run(["generate", "apple", "--seed", "1"]);
    expect(err.replace(/^[\d.]+ s \(.*$/m, "TIME")).toBe(
      [
        "load: koala-emoji",
        "koala-emoji (koala-small) on fake",
        "4 steps, euler trailing, guidance 3.5, 16 x 8, seed 1",
        "text: 2 text encoders",
        "warning: the text encoder reads 77 tokens; this was cut off: tail",
        "denoise: picture 1 of 1",
        "denoise: step 1 of 4, 1 s left",
        "denoise: step 4 of 4",
        "decode: VAE",
        "TIME\n",
      ].join("\n"),
    );
  });

  it("shows a terminal a bar that goes away, and leaves the cursor visible", async () => {
    const { err } = await run(["generate", "apple"], { isTTY: true });
    expect(err).toContain("denoise  ");
    expect(err.lastIndexOf("\x1b[?25h")).toBeGreaterThan(err.lastIndexOf("\x1b[?25l"));
  });

  it("says nothing but the file name with --quiet", async () => {
    const { out, err } = await run(["generate", "apple", "--seed", "1", "--quiet"]);
    expect([out, err]).toEqual(["koala-apple-1.png\n", ""]);
  });

  it("never takes the place of a file that it was not told to replace", async () => {
    const twice = ["generate", "apple", "--seed", "1"];
    await run(twice);
    expect((await run(twice)).out).toBe("koala-apple-1_2.png\n");
    expect((await run([...twice, "--count", "2"])).out).toBe("koala-apple-1-0.png\nkoala-apple-1-1.png\n");
    expect((await run([...twice, "--count", "2"])).out).toBe(
      "koala-apple-1_2-0.png\nkoala-apple-1_2-1.png\n",
    );
  });

  it("numbers several pictures, picture i from seed + i, each with a record of itself", async () => {
    const { out } = await run([
      "generate",
      "apple",
      "--seed",
      "5",
      "--count",
      "2",
      "--output",
      "a.png",
      "--negative",
      "worm",
    ]);
    expect(out).toBe("a-0.png\na-1.png\n");
    expect((await readPicture("a-1.png")).data[0]).toBe(6);
    const texts = readText(readFileSync("a-1.png"), "a-1.png");
    expect(texts.parameters).toBe(
      `apple\nNegative prompt: worm\nSteps: 4, Sampler: Euler, Schedule type: SGM Uniform, CFG scale: 3.5, Seed: 6, Size: 16x8, Model: koala-emoji, Version: koala-diffusion ${packageVersion()}`,
    );
    expect(JSON.parse(texts.koala ?? "")).toEqual({
      model: "koala-emoji",
      version: packageVersion(),
      request: {
        prompt: "apple",
        negativePrompt: "worm",
        ...defaults,
        seed: 6,
        count: 1,
        guidanceRescale: 0,
      },
    });
  });

  it.each(["a.jpg", "a.webp", "folder/", "bare"])("writes --output %s", async (output) => {
    mkdirSync("folder");
    const { out } = await run(["generate", "apple", "--seed", "1", "--output", output]);
    expect(out.trim()).toBe(
      output === "folder/" ? "folder/koala-apple-1.png" : output === "bare" ? "bare.png" : output,
    );
    expect(await readPicture(out.trim())).toMatchObject({ width: 16, height: 8 });
  });

  it("repeats a picture from its record, with changes on top", async () => {
    await run(["generate", "apple", "--seed", "7", "--steps", "2", "--output", "first.png"]);
    await run(["generate", "--from", "first.png", "--output", "again.png"]);
    expect(readFileSync("again.png")).toEqual(readFileSync("first.png"));
    await run(["generate", "pear", "--from", "first.png", "--guidance", "2", "--output", "other.png"]);
    const record = JSON.parse(readText(readFileSync("other.png"), "other.png").koala ?? "");
    expect(record.request).toMatchObject({ prompt: "pear", steps: 2, guidance: 2, seed: 7 });
  });

  it("takes one adapter after each --lora, and what follows as the prompt", async () => {
    const two = ["--lora", "a.safetensors:0.5", "--lora", "b.safetensors"];
    const { code, out, loaded } = await run(["generate", ...two, "apple", "--seed", "1"]);
    expect([code, out]).toEqual([0, "koala-apple-1.png\n"]);
    expect(loaded[0]?.[1].loras).toEqual([
      { location: "a.safetensors", weight: 0.5 },
      { location: "b.safetensors", weight: 1 },
    ]);
  });

  it("gives exactly one JSON object on stdout with --json", async () => {
    const { out } = await run(["generate", "apple", "--seed", "1", "--json"]);
    const said = JSON.parse(out);
    expect(said).toMatchObject({
      files: [{ file: "koala-apple-1.png", seed: 1 }],
      request: { prompt: "apple", steps: 4 },
      model: { name: "koala-emoji", family: "koala-small" },
      engine: "fake",
      warnings: ["the text encoder reads 77 tokens; this was cut off: tail"],
    });
    expect(Object.keys(said.timings)).toEqual([
      "loadSeconds",
      "textSeconds",
      "denoiseSeconds",
      "decodeSeconds",
      "totalSeconds",
    ]);
    expect(said.peakMemoryBytes).toBeGreaterThan(1e7);
  });

  it("shows rough pictures beside the output while it denoises, and takes them away", async () => {
    const seen: string[][] = [];
    const generator = new FakeGenerator(() => seen.push(readdirSync(".")));
    const { err } = await run(["generate", "apple", "--preview", "--output", "a.png"], { generator });
    expect(err).toContain("preview in a.preview.png\n");
    expect(seen.at(-1)).toEqual(["a.preview.png"]);
    expect(readdirSync(".")).toEqual(["a.png"]);
  });

  it("keeps its hands off a file that looks like its preview", async () => {
    writeFileSync("a.preview.png", "mine");
    const { err } = await run(["generate", "apple", "--preview", "--output", "a.png"]);
    expect(err).toContain("preview in a.preview_2.png\n");
    expect(readFileSync("a.preview.png", "utf8")).toBe("mine");
    expect(readdirSync(".")).toEqual(["a.png", "a.preview.png"]);
  });

  it("stops on Ctrl-C with 130, leaves no file and frees the model", async () => {
    let interrupt = (): void => {};
    const generator = new FakeGenerator(() => interrupt());
    const onInterrupt = (stop: () => void) => {
      interrupt = stop;
      return () => {};
    };
    const { code, out, err } = await run(["generate", "apple", "--preview"], {
      generator,
      world: { onInterrupt },
    });
    expect([code, out]).toEqual([130, ""]);
    expect(err).toMatch(/Stopped; nothing half-made is left\.\n$/);
    expect(readdirSync(".")).toEqual([]);
    expect(generator.isDisposed).toBe(true);
  });

  it("names the pictures that were made before Ctrl-C", async () => {
    const stopIn = (picture: number, ...flags: string[]) => {
      let interrupt = (): void => {};
      let steps = 0;
      const generator = new FakeGenerator(() => {
        steps++;
        if (steps > 4 * picture) interrupt();
      });
      const onInterrupt = (stop: () => void) => {
        interrupt = stop;
        return () => {};
      };
      const argv = ["generate", "apple", "--seed", "1", "--count", "3", ...flags];
      return run(argv, { generator, world: { onInterrupt } });
    };
    expect(await stopIn(2)).toMatchObject({ code: 130, out: "koala-apple-1-0.png\nkoala-apple-1-1.png\n" });
    const { code, out } = await stopIn(1, "--json", "--output", "b.png");
    expect(code).toBe(130);
    expect(JSON.parse(out)).toMatchObject({
      files: [{ file: "b-0.png", seed: 1 }],
      isComplete: false,
    });
  });

  it("names the pictures that were made before an error, and says on Ctrl-C how it stops", async () => {
    let steps = 0;
    const generator = new FakeGenerator(() => {
      if (++steps > 4) throw new Error("the engine is gone");
    });
    const { code, out, err } = await run(["generate", "apple", "--seed", "1", "--count", "3"], { generator });
    expect([code, out]).toEqual([1, "koala-apple-1-0.png\n"]);
    expect(err).toContain("the engine is gone");
    let interrupt = (): void => {};
    const stopped = await run(["generate", "apple"], {
      generator: new FakeGenerator(() => interrupt()),
      world: {
        onInterrupt(stop) {
          interrupt = stop;
          return () => {};
        },
      },
    });
    expect(stopped.err).toContain(
      "stops after this step, with the pictures that are done by then; a second Ctrl-C ends at once\n",
    );
  });

  it("records in a picture what its drawer says that drew it", async () => {
    class Deaf extends FakeGenerator {
      override async *generate(...[input, o]: Parameters<FakeGenerator["generate"]>) {
        for await (const event of super.generate(input, o)) {
          if (event.type !== "image") yield event;
          else {
            const { negativePrompt: _, ...request } = event.request;
            yield { ...event, request };
          }
        }
      }
    }
    const flags = ["--negative", "worm", "--guidance", "1", "--output", "a.png"];
    await run(["generate", "apple", ...flags], { generator: new Deaf() });
    const { parameters, koala = "" } = readText(readFileSync("a.png"), "a.png");
    expect(parameters).not.toContain("worm");
    expect(JSON.parse(koala).request).not.toHaveProperty("negativePrompt");
  });

  it("warns of a picture that another tool drew with what is not done here", async () => {
    const parameters = "apple BREAK\nSteps: 3, Sampler: DPM++ 3M SDE, Seed: 4, Size: 16x8, Tiling: True";
    const white = { width: 16, height: 8, data: new Uint8Array(3 * 16 * 8).fill(255) };
    writeFileSync("other.png", await encodePicture(white, "png", { parameters }));
    const { code, err } = await run(["generate", "--from", "other.png"]);
    expect(code).toBe(0);
    expect(err).toContain(
      "warning: other.png was drawn with Sampler: DPM++ 3M SDE, Tiling: True, BREAK in the prompt, which is not done here: another picture\n",
    );
    const { out } = await run(["inspect", "other.png"]);
    expect(out).toContain("\nNot done here: Sampler: DPM++ 3M SDE, Tiling: True, BREAK in the prompt\n");
  });

  it("hands its flags to the loader", async () => {
    const { loaded } = await run([
      "generate",
      "a",
      "--model",
      "o/m",
      "--engine",
      "ort",
      "--threads",
      "2",
      "--offline",
    ]);
    expect(loaded).toMatchObject([["o/m", { engine: "ort", threads: 2, isOffline: true }]]);
  });

  it("uses the model of the package unless told", async () => {
    const { loaded } = await run(["generate", "a"]);
    expect(loaded[0]?.[0]).toBe(join(packageRoot, "models/koala-emoji"));
  });
});

describe("a mistake is one sentence, found before any work, with exit code 2", () => {
  beforeEach(() => writeFileSync("text.txt", "no picture"));
  const cases: [string[], string][] = [
    [
      ["generate", "a", "--stepz", "3"],
      "--stepz: expected a flag of koala generate, got an unknown name [E_FLAG]\nDid you mean --steps?",
    ],
    [
      ["generate", "a", "--xyzzy"],
      "--xyzzy: expected a flag of koala generate, got an unknown name [E_FLAG]\nkoala generate --help lists what it takes.",
    ],
    [
      ["generate", "a", "--steps"],
      "--steps: expected N, got nothing [E_FLAG]\nkoala generate --help lists what it takes.",
    ],
    [
      ["generate"],
      'koala generate: expected PROMPT, got nothing [E_FLAG]\nFor example: koala generate "a red apple"',
    ],
    [
      ["generate", "a", "red", "apple"],
      "koala generate: expected at most 1 argument, got 3 [E_FLAG]\nText of several words needs quotes around it.",
    ],
    [
      ["genrate", "a"],
      "genrate: expected a command of koala, got an unknown name [E_FLAG]\nDid you mean koala generate?",
    ],
    [
      ["a red apple"],
      'a red apple: expected a command of koala, got an unknown name [E_FLAG]\nThe commands are generate, inspect, init, download, analyze, quantize, cut, train, distill, resume, eval, bench, lab, runs, serve, worker, engines. To draw a picture: koala generate "a red apple"',
    ],
    [
      ["--verson"],
      "--verson: expected a flag of koala, got an unknown name [E_FLAG]\nDid you mean --version?",
    ],
    [["generate", "a", "--steps", "0"], "--steps: expected a whole number from 1 to 1000, got 0 [E_REQUEST]"],
    [
      ["generate", "a", "--steps", "ten"],
      '--steps: expected a whole number from 1 to 1000, got "ten" [E_REQUEST]',
    ],
    [
      ["generate", "a", "--guidance", "NaN"],
      "--guidance: expected a number from 0 to 50, got NaN [E_REQUEST]",
    ],
    [["generate", "a", "--guidance", "-1"], "--guidance: expected a number from 0 to 50, got -1 [E_REQUEST]"],
    [
      ["generate", "a", "--width", "100"],
      "--width: expected a multiple of 8 from 8 to 4096 (px), got 100 [E_REQUEST]",
    ],
    [
      ["generate", "a", "--timesteps", "499,999"],
      "--timesteps: expected a falling list of 1 to 1000, each a whole number from 0 to 9999, got [499,999] [E_REQUEST]",
    ],
    [
      ["generate", "a", "--timesteps", "999,749,499,249", "--steps", "8"],
      "--steps: expected none beside --timesteps, or 4, as many as there are, got 8 [E_REQUEST]",
    ],
    [["generate", "a", "--crop", "here"], '--crop: expected { left, top } (px), got "here" [E_REQUEST]'],
    [
      ["generate", "a", "--precision", "int9"],
      '--precision: expected one of f32, bf16, int8, int4, got "int9" [E_REQUEST]\nDid you mean int4?',
    ],
    [
      ["serve", "--precisions", "f32,fp16"],
      '--precisions: expected one of f32, bf16, int8, int4, got "fp16" [E_FLAG]\nDid you mean bf16?',
    ],
    [
      ["serve", "--allow-host", "https://a.example"],
      '--allow-host: expected a name such as koala.example, without a scheme and a path, got "https://a.example" [E_FLAG]',
    ],
    [
      ["serve", "--url", "koala.example"],
      '--url: expected an origin such as https://example.org, without a path, got "koala.example" [E_FLAG]',
    ],
    [
      ["serve", "--redis", "foo"],
      '--redis: expected an address such as redis://127.0.0.1:6379, got "foo" [E_FLAG]',
    ],
    [
      ["worker", "--redis", "http://me:secret@a"],
      '--redis: expected an address such as redis://127.0.0.1:6379, got "http://…@a" [E_FLAG]',
    ],
    [
      ["generate", "a", "--lora", "style.safetensors:strong"],
      '--lora: expected FILE or FILE:WEIGHT, the weight from -10 to 10, got "style.safetensors:strong" [E_FLAG]',
    ],
    [
      ["generate", "a", "--threads", "0"],
      '--threads: expected a whole number from 1 to 1024, got "0" [E_FLAG]',
    ],
    [
      ["generate", "a", "--output", "a.gif"],
      "a.gif: expected a picture's name: .png, .jpg, .jpeg or .webp, got .gif [E_OUTPUT]",
    ],
    [
      ["generate", "a", "--output", "no/such/a.png"],
      "no/such/a.png: expected a folder no/such to write into, got no such file or folder [E_OUTPUT]\nMake it first: mkdir -p no/such",
    ],
    [
      ["generate", "--from", "no.png"],
      "no.png: expected a picture that can be read, got no such file [E_FILE]",
    ],
    [
      ["generate", "--from", "text.txt"],
      "text.txt: expected a PNG, JPEG or WebP picture, got a file that does not begin like one [E_IMAGE]",
    ],
    [["download", "koala"], 'koala download: expected a hub id, owner/name, got "koala" [E_FLAG]'],
    [
      ["init", "tiny", "text.txt"],
      "text.txt: expected a name that is free, got a file or folder that is there [E_OUTPUT]\nNothing is ever overwritten: remove it first, or choose another name.",
    ],
    [
      ["inspect", "koala-700"],
      "koala-700: expected a model folder, a checkpoint file, a hub id (owner/name), a preset or a picture, got nothing of that name [E_MODEL]\nDid you mean the preset koala-700m?",
    ],
    [["init", "tiny", "new", "--dtype", "int8"], '--dtype: expected float32 or float16, got "int8" [E_FLAG]'],
    [
      ["init", "tiny"],
      "koala init: expected DIR, got nothing [E_FLAG]\nkoala init --help lists what it takes.",
    ],
    [
      ["init", "tiny", "new", "--seed", "x"],
      '--seed: expected a whole number from 0 to 4294967295, got "x" [E_REQUEST]',
    ],
  ];
  it.each(cases)("%j", async (argv, expected) => {
    const { code, out, err, loaded } = await run(argv);
    expect(err).toBe(`${expected}\n`);
    expect([code, out, loaded.length]).toEqual([2, "", 0]);
  });

  it("a picture may not choose which model is fetched", async () => {
    await run(["generate", "a", "--model", "owner/other", "--output", "a.png"]);
    const { code, err } = await run(["generate", "--from", "a.png"]);
    expect(err).toBe(
      "--model: expected the model of a.png, which is owner/other, got nothing [E_FLAG]\nIf that is a hub id: --model owner/other\n",
    );
    expect(code).toBe(2);
  });

  it("also as the one JSON object with --json", async () => {
    const { out } = await run(["generate", "a", "--steps", "0", "--json"]);
    expect(JSON.parse(out).error).toEqual({
      code: "E_REQUEST",
      where: "--steps",
      expected: "a whole number from 1 to 1000",
      got: "0",
      message: "--steps: expected a whole number from 1 to 1000, got 0 [E_REQUEST]",
    });
  });
});

describe("our own faults", () => {
  const load = (): Promise<Generator> => Promise.reject(new TypeError("x is undefined"));

  it("exit with 1 and ask for --verbose", async () => {
    const { code, err } = await run(["generate", "a", "--quiet"], { world: { load } });
    expect(err).toBe(
      "koala: expected no surprise, got TypeError: x is undefined [E_INTERNAL]\nThis is a fault of koala. The same command with --verbose shows where it happened.\n",
    );
    expect(code).toBe(1);
  });

  it("show their stack with --verbose", async () => {
    const { err } = await run(["generate", "a", "--quiet", "--verbose"], { world: { load } });
    expect(err).toContain("main.test.ts");
    expect(err).toContain("[cause]: TypeError: x is undefined");
  });
});

describe("help", () => {
  it("is there for koala and says the commands", async () => {
    const { code, out } = await run([]);
    expect(code).toBe(0);
    for (const word of ["generate", "inspect", "init", "download", "engines", "--version"])
      expect(out).toContain(word);
    expect((await run(["--help"])).out).toBe(out);
  });

  it("of generate lists every field with its bounds, from the schema", async () => {
    const { out } = await run(["generate", "--help"]);
    expect(out.replace(/\s+/g, " ")).toContain("--steps <N> denoising steps: a whole number from 1 to 1000");
    expect((await run(["help", "generate"])).out).toBe(out);
  });

  it("comes with the version", async () => {
    expect((await run(["--version"])).out).toBe(`${packageVersion()}\n`);
  });
});
