import { describe, expect, it } from "vitest";
import { type Outcome, runChild } from "./child.ts";

const node = (code: string, signal = new AbortController().signal): Promise<Outcome> =>
  runChild({ program: process.execPath, args: ["-e", code], env: { FROM_BENCH: "1" } }, signal);

describe("a run of a contender", () => {
  it("is its last line, what it took and what it held", async () => {
    const { said, seconds, peakBytes } = await node(
      `const held = Buffer.alloc(150e6, 1); console.log("loading {"); setTimeout(() => console.log(JSON.stringify({ steps: [1, 2], env: process.env.FROM_BENCH, late: Date.now() / 1000 - process.env.BENCH_START > 0.3, held: held.length })), 300)`,
    );
    expect(said).toEqual({ steps: [1, 2], env: "1", late: true, held: 150e6 });
    expect(seconds).toBeGreaterThan(0.3);
    if (process.platform === "linux") expect(peakBytes).toBeGreaterThan(150e6);
  });

  it("needs no line at all", async () => {
    expect((await node("console.log('done')")).said).toEqual({});
  });

  it("fails with the last line of what it complained of", async () => {
    const failing = node(
      `console.error("Traceback:\\n  a line\\nRuntimeError: out of memory"); process.exit(3)`,
    );
    await expect(failing).rejects.toMatchObject({
      ...{ code: "E_ENGINE", expected: "a run to its end" },
      got: "exit code 3: RuntimeError: out of memory",
    });
  });

  it("fails with the sentence of one of ours, not with the hint after it", async () => {
    const failing = node(
      `console.error("warning: x\\n--memory: expected 4 GB, got 2 GB [E_MEMORY]\\nThe least is 4 GB."); process.exit(2)`,
    );
    await expect(failing).rejects.toMatchObject({
      got: "exit code 2: --memory: expected 4 GB, got 2 GB [E_MEMORY]",
    });
  });

  it("says when the program is not there", async () => {
    const missing = runChild({ program: "/nowhere/python", args: [] }, new AbortController().signal);
    await expect(missing).rejects.toMatchObject({ got: "spawn /nowhere/python ENOENT" });
  });

  it("is over within a moment of being stopped, even if it does not listen", async () => {
    const stop = new AbortController();
    const startMs = performance.now();
    setTimeout(() => stop.abort(), 300);
    await expect(node("for (;;);", stop.signal)).rejects.toThrow("aborted");
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });
});
