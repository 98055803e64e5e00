import { describe, expect, it } from "vitest";
import { KoalaError } from "../../core/errors.ts";
import type { Command, Outcome } from "./child.ts";
import { type Contender, type ContestOptions, compete, type Measure, ratiosOf, spreadIn } from "./contest.ts";

const contender = (name: string, isOurs = false): Contender => ({
  ...{ name, isOurs },
  command: { program: name, args: [] },
});
const [a, b, c] = [contender("koala", true), contender("diffusers"), contender("openvino")];
const step: Measure = {
  ...{ key: "step", title: "s a step", digits: 2 },
  of: ({ said }) => said.steps as number[],
};

/** A contest of programs that never start: each run takes what `seconds` says of it. */
async function contest(
  seconds: (program: string, run: number) => number,
  o: Partial<ContestOptions> = {},
): Promise<{ order: string[]; contest: Awaited<ReturnType<typeof compete>> }> {
  const order: string[] = [];
  const run = async ({ program }: Command): Promise<Outcome> => {
    order.push(program);
    const its = seconds(program, order.filter((name) => name === program).length);
    return { seconds: its, peakBytes: null, said: { steps: [its] } };
  };
  return { contest: await compete([a, b, c], { rounds: 3, warmUps: 0, run, ...o }), order };
}

describe("a contest", () => {
  it("lets all run in turn, each round beginning with another", async () => {
    const { order } = await contest(() => 1);
    expect(order).toEqual([
      ...["koala", "diffusers", "openvino"],
      ...["diffusers", "openvino", "koala"],
      ...["openvino", "koala", "diffusers"],
    ]);
  });

  it("does not count rounds that warm up", async () => {
    const told: [string, number][] = [];
    const { order, contest: done } = await contest((_, run) => run, {
      ...{ rounds: 2, warmUps: 1 },
      onRun: (name, round) => void told.push([name, round]),
    });
    expect(order.length).toBe(9);
    expect(spreadIn(done.standings[0]!, step)).toEqual({ median: 2.5, least: 2, most: 3, count: 2 });
    expect(told.slice(0, 4)).toEqual([
      ["koala", 0],
      ["diffusers", 0],
      ["openvino", 0],
      ["koala", 1],
    ]);
  });

  it("goes on without one that fails, and says why once", async () => {
    const seen: string[] = [];
    const { order, contest: done } = await contest(
      (program) => {
        if (program !== "diffusers") return 1;
        throw new KoalaError("E_ENGINE", { where: "x", expected: "a run", got: "exit code 1: no memory." });
      },
      { onMissing: ({ name }) => void seen.push(name) },
    );
    expect(done.missing).toEqual([{ name: "diffusers", why: "exit code 1: no memory" }]);
    expect(seen).toEqual(["diffusers"]);
    expect(order.filter((name) => name === "diffusers").length).toBe(1);
    expect(done.standings.map(({ contender: { name }, runs }) => [name, runs.length])).toEqual([
      ["koala", 3],
      ["openvino", 3],
    ]);
  });

  it("ends at once when it is stopped", async () => {
    const stopped = contest(() => {
      throw new DOMException("stopped", "AbortError");
    });
    await expect(stopped).rejects.toThrow("stopped");
  });

  it("tells ours over each of theirs", async () => {
    const speeds: Record<string, number> = { koala: 1, diffusers: 4, openvino: 0.5 };
    const { contest: done } = await contest((program, run) => (speeds[program] ?? 0) * run);
    const ratios = ratiosOf(done.standings, step).map(({ ours, theirs, ratio }) => [
      ours,
      theirs,
      ratio.median,
    ]);
    expect(ratios).toEqual([
      ["koala", "diffusers", 0.25],
      ["koala", "openvino", 2],
    ]);
  });
});
