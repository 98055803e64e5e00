/** Training commands as several processes of a job, in one: the same run as alone, and what is refused. */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { fakeJob } from "../../../../test/fake-job.ts";
import { inEmptyFolders, type Ran, run } from "../../../../test/fake-world.ts";
import {
  expectSameRun,
  logOf,
  trainingCommands,
  writeTrainingScene,
} from "../../../../test/training-scene.ts";
import { host } from "../../../runtime/host.ts";
import type { World } from "../world.ts";

inEmptyFolders();
beforeEach(() => writeTrainingScene());
const world: Partial<World> = { openModel: (location, o) => host.openModel(location, o) };

/** Command lines of the processes of a job, the first for those that have none. */
const koala = (size: number, ...argvs: readonly (readonly string[])[]): Promise<Ran[]> =>
  Promise.all(
    fakeJob(size).map((job, rank) =>
      run([...(argvs[rank] ?? argvs[0] ?? [])], { world: { ...world, join: async () => job } }),
    ),
  );

const vae = [...trainingCommands.vae, "--out", "a"];

describe("a run by two processes", { timeout: 60_000 }, () => {
  it.each(["vae", "clip"] as const)("%s loses as by one, and is written once", async (name) => {
    const command = trainingCommands[name];
    expect(await koala(1, [...command, "--out", "one"])).toMatchObject([{ code: 0, out: "one/model\n" }]);
    const said = await koala(2, [...command, "--out", "two"]);
    expect(said.map(({ code, out }) => [code, out])).toEqual([
      [0, "two/model\n"],
      [0, ""],
    ]);
    expect(said[0]?.err).toMatch(/ of memory: .+, in each of 2 processes\n/);
    expect(said[1]?.err).toBe("");
    expect(logOf("two")).toHaveLength(2);
    expectSameRun("one", "two");
  });

  it("is gone on with by any number of them", async () => {
    await koala(2, [...vae, "--checkpoint-every", "1"]);
    const path = "a/checkpoints/step-00000002.safetensors";
    const second = readFileSync(path);
    rmSync(path);
    const [again] = await koala(2, ["resume", "a"]);
    expect(again?.err).toContain("goes on after step 1\n");
    expect(readFileSync(path).equals(second)).toBe(true);
    const loss = logOf("a")[1]?.loss ?? Number.NaN;
    rmSync(path);
    expect((await koala(1, ["resume", "a"]))[0]?.code).toBe(0);
    expect(Math.abs((logOf("a")[1]?.loss ?? Number.NaN) / loss - 1)).toBeLessThan(1e-5);
  });

  it("stops when any of them is told to", async () => {
    const stops: (() => void)[] = [];
    const onInterrupt = (stop: () => void) => {
      stops.push(stop);
      return () => {};
    };
    const running = Promise.all(
      fakeJob(2).map((job) =>
        run([...vae, "--steps", "5000"], { world: { ...world, onInterrupt, join: async () => job } }),
      ),
    );
    while (!existsSync("a/log.jsonl") || readFileSync("a/log.jsonl").length === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    stops[1]?.(); // the second, which says nothing
    const [first, second] = await running;
    expect([first?.code, second?.code]).toEqual([130, 0]);
    expect(first?.err).toContain("Stopped with a checkpoint; koala resume a goes on.\n");
    expect(readdirSync("a/checkpoints")).toHaveLength(1);
  });

  it("ends on all where the numbers go wrong, with the last checkpoint kept", async () => {
    const wild = [...["--max-norm", "0", "--rate", "1"], ...["--kl-weight", "1000000", "--steps", "20"]];
    const said = await koala(2, [...vae, ...wild, "--checkpoint-every", "1"]);
    expect(said.map(({ code }) => code)).toEqual([1, 0]);
    expect(said[0]?.err).toMatch(/step \d+, .+: expected .+, got .+ \[E_NAN\]\n/);
    // what it says works: the checkpoint as a model, and a new run that begins with it
    const [, step = ""] =
      /until step (\d+): koala resume a --steps \1, which writes a\/model; /.exec(said[0]?.err ?? "") ?? [];
    expect(said[0]?.err).toContain(
      "koala resume a would meet the same numbers. A new run: koala train a/config.yaml --rate LOWER --out NEW\n",
    );
    expect(said[0]?.err).toContain(
      "then koala train COPY --model a/model --rate LOWER --steps 20 --out NEW, COPY being a/config.yaml without vae\n",
    );
    const again = ["train", "a/config.yaml", "--rate", "1e-6", "--kl-weight", "0", "--steps", "1", "--out"];
    expect(await koala(1, [...again, "b"])).toMatchObject([{ code: 0, out: "b/model\n" }]);
    expect(await koala(1, ["resume", "a", "--steps", step])).toMatchObject([{ code: 0, out: "a/model\n" }]);
    const text = readFileSync("a/config.yaml", "utf8");
    writeFileSync("copy.yaml", text.replace(/^vae: .*\n/m, ""));
    const begun = ["train", "copy.yaml", "--model", "a/model", ...again.slice(2), "c"];
    expect(await koala(1, begun)).toMatchObject([{ code: 0, out: "c/model\n" }]);
  });
});

describe("a run that several processes cannot share", { timeout: 60_000 }, () => {
  const refused = async (size: number, ...argvs: readonly (readonly string[])[]): Promise<string> => {
    const said = await koala(size, ...argvs);
    expect(said.map(({ code }) => code)).toEqual([2, ...Array(size - 1).fill(0)]);
    expect(said.slice(1).every(({ err }) => err === "")).toBe(true);
    expect(existsSync("a/run.json")).toBe(false);
    return said[0]?.err ?? "";
  };
  const changed = (from: string, to: string): string[] => vae.map((word) => (word === from ? to : word));

  it("for its batch is told so, once and before anything is made", async () => {
    expect(await refused(3, vae)).toBe(
      "batch: expected a multiple of the 3 processes, each of which takes an equal share, got 2 [E_CONFIG]\n",
    );
    expect(await refused(3, [...trainingCommands.clip, "--out", "a"])).toBe(
      "accumulate: expected a multiple of the 3 processes: CLIP tells the pictures of a batch from each other, so each process takes whole batches, got 2 [E_CONFIG]\n",
    );
  });

  it("for what one of them was told is refused on all", async () => {
    expect(await refused(2, [...vae, "--rate", "2"])).toBe(
      "--rate: expected a number above 0 to 1, got 2 [E_CONFIG]\n",
    );
    expect(await refused(2, vae, [...vae, "--rate", "0.5"])).toMatch(
      /\nrank 1 of 2, run: expected the same code and configuration as rank 0: rate: 0\.0001, got rate: 0\.5 \[E_CONFIG\]\n$/,
    );
    expect(await refused(2, vae, changed("vae.json", "none.json"))).toMatch(
      /\nrank 1 of 2, none\.json: expected .+, got .+ \[E_FILE\]\n$/,
    );
  });
});
