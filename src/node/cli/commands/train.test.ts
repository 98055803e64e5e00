/** `koala train`, `distill`, `resume` and `runs` on a tiny model: whole runs, and what is refused before they begin. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { inEmptyFolders, run } from "../../../../test/fake-world.ts";
import { writeFamily } from "../../../../test/model-folder.ts";
import { Pipeline } from "../../../pipeline/pipeline.ts";
import { host } from "../../../runtime/host.ts";
import type { World } from "../world.ts";

inEmptyFolders();
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };
const koala = (...argv: string[]) => run(argv, { world });

/** Six flat pictures with captions. */
async function writeData(folder: string): Promise<string> {
  mkdirSync(folder);
  for (const [i, colour] of ["red", "green", "blue", "black", "orange", "purple"].entries()) {
    const picture = { width: 64, height: 64, channels: 3 as const, background: colour };
    writeFileSync(`${folder}/${i}.png`, await sharp({ create: picture }).png().toBuffer());
    writeFileSync(`${folder}/${i}.txt`, `a ${colour} square`);
  }
  return folder;
}

const small = [
  "--data",
  "data",
  "--resolution",
  "64",
  "--batch",
  "2",
  "--sample-every",
  "0",
  "--threads",
  "1",
];
const flags = [...small, "--steps", "2", "--checkpoint-every", "1"];
const logOf = (path: string): Record<string, unknown>[] =>
  readFileSync(`${path}/log.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** A folder in integers of the model in `model`. */
const quantized = (model: string, folder: string) =>
  run(
    ["quantize", model, folder, "--to", "int8", "--calibrate", "p.txt", "--steps", "1", "--size", "64x64"],
    {
      world: { ...world, load: (location, o) => Pipeline.load(location, o) },
    },
  );

describe("koala train", () => {
  it("refuses a model in integers before it looks at the data", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    writeFileSync("p.txt", "a red apple\n");
    expect((await quantized("model", "integers")).code).toBe(0);
    const sentence =
      "integers: expected weights in floats, got a quantized model's integers [E_WEIGHTS]\nTake the model that it was quantized from.\n";
    const trained = await koala("train", "--model", "integers", ...small, "--out", "a");
    expect([trained.code, trained.err]).toEqual([2, sentence]);
    const student = ["distill", "--teacher", "integers", "--student", "koala-1b", ...small, "--out", "b"];
    expect((await koala(...student)).err).toBe(sentence);
    expect([existsSync("a"), existsSync("b")]).toEqual([false, false]);
    await writeData("data");
    const fresh = ["--fresh", "--steps", "1", "--out", "c"]; // only its shape counts
    expect((await koala("train", "--model", "integers", ...small, ...fresh)).code).toBe(0);
  });

  it("makes a run that shows its curves and goes on", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    await writeData("data");
    writeFileSync("run.yaml", "model: model\nsteps: 9\nrate: 0.001\n");
    const made = await koala("train", "run.yaml", "--out", "a", ...flags);
    expect(made.err).toMatch(/6 pictures of 64 px on average, captions of 3\.0 words\n/);
    expect(made.err).toMatch(
      /at least [\d.]+ MB of memory: [\d.]+ [kM]B of weights, gradients and moments, /,
    );
    expect(made.err).toMatch(/step 2 of 2: [\d.]+ pictures\/s, loss [\d.]+\n/);
    expect([made.code, made.out]).toEqual([0, "a/model\n"]);
    expect(logOf("a").map(({ step, rate }) => [step, rate])).toEqual([
      [1, 0.001],
      [2, 0.001],
    ]);
    expect(readdirSync("a/model")).toEqual(
      readdirSync("model").filter((name) => name !== "expected.safetensors"),
    );

    const shown = await koala("runs", "a");
    expect(shown.out).toMatch(/^a: unet, 2 of 2 steps, [\d.]+ pictures\/s, /);
    expect(shown.out).toMatch(/learning rate: 0\.001000\n/);
    expect(existsSync("a/report.html")).toBe(true);
    expect((await koala("runs")).out).toMatch(/^run +kind +steps +loss\na +unet +2\/2 +[\d.]+\n$/);
    expect(JSON.parse((await koala("runs", "--json")).out).runs).toMatchObject([
      { run: "a", step: 2, steps: 2 },
    ]);
    expect(JSON.parse((await koala("runs", "a", "--json")).out)).toMatchObject({
      run: "a",
      report: "a/report.html",
    });

    mkdirSync("b");
    for (const name of ["config.yaml", "run.json"]) writeFileSync(`b/${name}`, readFileSync(`a/${name}`));
    writeFileSync("b/config.yaml", readFileSync("b/config.yaml", "utf8").replace("rate: 0.001", "rate: -1"));
    const reason = "b/config.yaml, rate: expected a number above 0 to 1, got -1 [E_CONFIG]";
    const listed = await koala("runs");
    expect([listed.code, listed.out.split("\n").slice(2)]).toEqual([0, [reason, ""]]);
    expect(JSON.parse((await koala("runs", "--json")).out).runs).toMatchObject([
      { run: "a", step: 2 },
      { run: "b", error: reason },
    ]);
    expect((await koala("runs", "b")).err).toBe(`${reason}\n`);
    rmSync("b", { recursive: true });

    // a run of which only the first checkpoint is left goes on to the same weights, bit for bit
    const end = readFileSync("a/checkpoints/step-00000002.safetensors");
    const model = readFileSync("a/model/unet/diffusion_pytorch_model.safetensors");
    rmSync("a/checkpoints/step-00000002.safetensors");
    rmSync("a/model", { recursive: true });
    const resumed = await koala("resume", "a");
    expect(resumed.err).toContain("goes on after step 1\n");
    expect(readFileSync("a/checkpoints/step-00000002.safetensors").equals(end)).toBe(true);
    expect(readFileSync("a/model/unet/diffusion_pytorch_model.safetensors").equals(model)).toBe(true);
    expect(logOf("a")).toHaveLength(2);

    writeFileSync("data/0.txt", "another caption");
    expect((await koala("resume", "a")).err).toContain(
      "a: expected the data that the run began with, got other pictures, captions or groups [E_CONFIG]\nBring the old data back, or begin a new run.\n",
    );
  });

  it("goes on longer, as a run does that was as long from the start", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    await writeData("data");
    const steps = (count: string) => [...small, "--steps", count, "--checkpoint-every", "1"];
    await koala("train", "--out", "long", "--model", "model", ...steps("3"));
    await koala("train", "--out", "a", "--model", "model", ...steps("2"));
    expect((await koala("resume", "a", "--steps", "1")).err).toContain(
      "steps: expected at least 2, the step of the last checkpoint in a, got 1 [E_CONFIG]\n",
    );
    expect((await koala("resume", "a", "--steps", "3")).code).toBe(0);
    expect((await koala("resume", "a")).code).toBe(0); // by the configuration that is now the run's
    const result = (run: string): Buffer =>
      readFileSync(`${run}/model/unet/diffusion_pytorch_model.safetensors`);
    expect(result("a").equals(result("long"))).toBe(true);
    expect(logOf("a")).toHaveLength(3);
    expect((await koala("resume", "a", "--steps", "none")).err).toContain(
      '--steps: expected a whole number from 1 to 100000000, got "none" [E_FLAG]\n',
    );
  });

  it("stops at Ctrl-C with a checkpoint", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    await writeData("data");
    let stop = (): void => {};
    const onInterrupt = (handler: () => void) => {
      stop = handler;
      return () => {};
    };
    const watched = { ...world, onInterrupt };
    const running = run(["train", "--out", "a", "--model", "model", ...small, "--steps", "500"], {
      world: watched,
    });
    while (!existsSync("a/log.jsonl")) await new Promise((resolve) => setTimeout(resolve, 20));
    stop();
    const { code, err } = await running;
    expect(code).toBe(130);
    expect(err).toContain("stops after this step; a second Ctrl-C ends at once\n");
    expect(err).toContain("Stopped with a checkpoint; koala resume a goes on.\n");
    expect(readdirSync("a/checkpoints")).toHaveLength(1);
  });

  it("draws sheets of samples", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    await writeData("data");
    const sampling = [
      "--sample-every",
      "1",
      "--sample-count",
      "2",
      "--sample-steps",
      "1",
      "--prompts",
      "x",
      "y",
    ];
    await koala("train", "--out", "a", "--model", "model", ...small, "--steps", "1", ...sampling);
    expect(readdirSync("a/samples")).toEqual(["step-00000000.png", "step-00000001.png"]);
    expect(await sharp("a/samples/step-00000001.png").metadata()).toMatchObject({ width: 128, height: 64 });
  });

  it("tells a mistake before it makes a folder", { timeout: 120_000 }, async () => {
    writeFamily("model", "koala-1b");
    await writeData("data");
    const failing = async (...argv: string[]): Promise<string> => {
      const { code, err } = await koala("train", "--model", "model", ...small, ...argv);
      expect(code).toBe(2);
      expect(existsSync("a/run.json")).toBe(false);
      return err;
    };
    expect(await failing()).toContain(
      "--out: expected a new folder for the run, got nothing [E_FLAG]\nkoala train --help lists what it takes.\n",
    );
    expect(await failing("--out", "a", "--rate", "2")).toContain(
      "--rate: expected a number above 0 to 1, got 2 [E_CONFIG]\n",
    );
    expect(await failing("--out", "a", "--warmup", "2000")).toContain(
      "warm-up: expected a whole number of steps from 0 to 1000, got 2000 [E_REQUEST]\n",
    );
    expect(await failing("--out", "a", "--resolution", "63")).toMatch(
      /resolution: expected a multiple of \d px, the size of this model's latent cell, got 63 \[E_CONFIG\]\n/,
    );
    const fine = ["--model", "koala-emoji", "--data", "data"]; // latent cells of 4 px
    expect((await koala("train", ...fine, "--out", "a", "--resolution", "60")).err).toContain(
      "resolution: expected a multiple of 8 px, as sides of drawn samples are, got 60 [E_CONFIG]\n--sample-every 0 draws none.\n",
    );
    const swallowed = await koala("train", "--out", "a", "--data", "data", "run.yaml");
    expect(swallowed.err).toBe(
      "--data: expected what is listed to be no file of a run, got run.yaml [E_FLAG]\n--data takes all that follows it: put run.yaml first.\n",
    );
    mkdirSync("empty");
    const empty = await koala("train", "--model", "model", "--data", "empty", "--out", "a");
    expect(empty.err).toContain("empty: expected pictures to learn from, got none [E_FILE]\n");
    expect(existsSync("a/run.json")).toBe(false);
    writeFileSync(
      "other.json",
      readFileSync("model/unet/config.json", "utf8").replace('"in_channels": 4', '"in_channels": 5'),
    );
    expect(await failing("--out", "a", "--unet", "other.json")).toMatch(
      /other\.json: expected a U-Net for the model's other parts: 4 to 4 channels, .+, got 5 to 4 channels, .+ \[E_CONFIG\]\n/,
    );
    writeFamily("guided", "lcm");
    expect((await koala("train", "--model", "guided", ...small, "--out", "a")).err).toContain(
      "guided: expected a U-Net that learns without a teacher's guidance, got one that is told the guidance (LCM) [E_MODEL]\n",
    );
    const bare = await koala("train", "--model", "model/unet", ...small, "--out", "a");
    expect(bare.err).toContain(
      "model/unet: expected a diffusers folder (model_index.json), whose other parts go into the result, got none [E_MODEL]\n",
    );
    expect((await koala("runs", "empty")).err).toContain(
      "empty: expected a run's folder, or one that holds runs, got none [E_FILE]\nkoala train and koala distill begin a run: --out names its folder.\n",
    );
  });
});

describe("koala distill", () => {
  it("teaches a student cut by rule, or one that was cut before", { timeout: 120_000 }, async () => {
    writeFamily("teacher", "koala-1b");
    await writeData("data");
    const made = await koala(
      "distill",
      "--teacher",
      "teacher",
      "--student",
      "koala-700m",
      "--out",
      "a",
      ...flags,
    );
    expect(made.out).toBe("a/model\n");
    expect(made.err).toMatch(/ of teacher in one graph with the student; /);
    const [, together] = /at least ([\d.]+) MB of memory/.exec(made.err) ?? [];
    const [first] = logOf("a") as [{ terms: Record<string, number> }];
    expect(Object.keys(first.terms)).toEqual(
      expect.arrayContaining(["task", "output", "feature", "feature SA DW-2"]),
    );
    expect(existsSync("a/model/unet/koala_cut.json")).toBe(true);

    const again = await koala(
      "distill",
      "--teacher",
      "teacher",
      "--student",
      "a/model",
      "--out",
      "b",
      ...flags,
      "--memory",
      `${Number(together) - 10}MB`, // in turns they need 29 MB less, the teacher's weights
      "--turn",
      "2",
      "--answers",
      "disk",
    );
    expect(again.err).toMatch(
      / teacher and student in turns of 2 batches, [\d.]+ kB of answers kept on disk; /,
    );
    expect(again.out).toBe("b/model\n");
    expect(readdirSync("b").filter((name) => name.startsWith("."))).toEqual([]);
    expect(existsSync("b/model/unet/koala_cut.json")).toBe(true);

    const small = await koala(
      ...[
        "distill",
        "--teacher",
        "teacher",
        "--student",
        "koala-700m",
        "--out",
        "c",
        ...flags,
        "--memory",
        "1MB",
      ],
    );
    expect(small.err).toMatch(
      /memory: expected at least .+ MB, which teacher and student need in turns, got 1\.00 MB/,
    );
    const unknown = await koala(
      "distill",
      "--teacher",
      "teacher",
      "--student",
      "koala-70m",
      "--out",
      "c",
      ...flags,
    );
    expect(unknown.err).toMatch(
      /student: expected one of koala-1b, .+, got koala-70m \[E_MODEL\]\nDid you mean koala-700m\?/,
    );
    expect(existsSync("c")).toBe(false);
  });

  it("goes on within the memory of its one turn, and says where more steps need more", {
    timeout: 240_000,
  }, async () => {
    writeFamily("teacher", "koala-1b");
    await writeData("data");
    const least = ["--batch", "1", "--ema", "0", "--recompute", "up_blocks.0", "down_blocks.1"];
    const begun = ["distill", "--teacher", "teacher", "--student", "koala-700m", "--out", "a", ...flags];
    // 366 MB in one turn of both steps; 372 MB where moments are there while the teacher answers
    const made = await koala(...begun, ...least, "--turn", "2", "--memory", "368MB");
    expect(made.err).toMatch(/ teacher and student in turns of 2 batches, /);
    const end = readFileSync("a/checkpoints/step-00000002.safetensors");
    rmSync("a/checkpoints/step-00000002.safetensors");
    const resumed = await koala("resume", "a");
    expect(resumed.err).toMatch(/ teacher and student in turns of 1 batches, /);
    expect(resumed.err).not.toContain("all the same");
    expect(resumed.code).toBe(0);
    expect(readFileSync("a/checkpoints/step-00000002.safetensors").equals(end)).toBe(true);
    const longer = await koala("resume", "a", "--steps", "5");
    expect(longer.err).toMatch(
      /teacher and student need 37\d MB in turns, more than the run's 368 MB of memory: it goes on in turns all the same\n/,
    );
    expect(longer.code).toBe(0);
    expect(logOf("a")).toHaveLength(5);
  });
});
