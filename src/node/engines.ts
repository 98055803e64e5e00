/** Every engine of this package under Node, there or not. */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import { checkedEngine } from "../engine/self-test.ts";
import type { Work } from "../runtime/host.ts";
import type { Engine, EngineStatus } from "../runtime/session.ts";
import { choose } from "./choose-engine.ts";
import { openvinoEngine, openvinoStatus } from "./openvino.ts";
import { cudaEngine, cudaStatus, ortEngine, ortStatus, webgpuEngine, webgpuStatus } from "./ort-node.ts";

interface Entry {
  open(): Engine | Promise<Engine>;
  status(): EngineStatus | Promise<EngineStatus>;
}

/** By the names that `--engine` takes. */
const entries: Readonly<Record<string, Entry>> = {
  ort: { open: ortEngine, status: ortStatus },
  openvino: { open: openvinoEngine, status: openvinoStatus },
  webgpu: { open: () => checkedEngine(webgpuEngine()), status: webgpuStatus },
  cuda: { open: () => checkedEngine(cudaEngine()), status: () => cudaStatus() },
};

export const engines = (): Promise<readonly EngineStatus[]> =>
  Promise.all(Object.values(entries).map((entry) => entry.status()));

/** `auto` without work to weigh is the CPU's engine that is always here. @throws KoalaError E_ENGINE for an unknown name, or for an engine that is not there, with the reason */
export async function engine(name: string, work?: Work): Promise<Engine> {
  if (name === "auto") {
    if (work === undefined) return engine("ort");
    const freeBytes = Math.min(process.availableMemory(), work.memory ?? Number.POSITIVE_INFINITY);
    const choice = await choose(work, { arch: process.arch, freeBytes, openvino: openvinoStatus });
    return { ...(await engine(choice.name)), reason: choice.reason };
  }
  const entry = Object.hasOwn(entries, name) ? entries[name] : undefined;
  check(entry !== undefined, "E_ENGINE", () => {
    const near = nearest(name, ["auto", ...Object.keys(entries)])[0];
    return {
      where: "engine",
      expected: `one of auto, ${Object.keys(entries).join(", ")}`,
      got: name,
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    };
  });
  const status = await entry.status();
  if (!status.isAvailable) {
    const there = (await engines()).filter(({ isAvailable }) => isAvailable).map(({ name: other }) => other);
    throw new KoalaError("E_ENGINE", {
      where: `engine ${name}`,
      expected: "an engine that runs on this machine",
      got: status.detail,
      hint: there.length === 0 ? "None does: koala engines says why." : `Here runs ${there.join(", ")}.`,
    });
  }
  return entry.open();
}
