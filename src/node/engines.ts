/** Every engine of this package under Node, there or not. */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import { checkedEngine } from "../engine/self-test.ts";
import type { Engine, EngineStatus } from "../runtime/session.ts";
import { openvinoEngine, openvinoStatus } from "./openvino.ts";
import { ortEngine, ortStatus, webgpuEngine, webgpuStatus } from "./ort-node.ts";

interface Entry {
  open(): Engine | Promise<Engine>;
  status(): EngineStatus | Promise<EngineStatus>;
}

/** By the names that `--engine` takes. */
const entries: Readonly<Record<string, Entry>> = {
  ort: { open: ortEngine, status: ortStatus },
  openvino: { open: openvinoEngine, status: openvinoStatus },
  webgpu: { open: () => checkedEngine(webgpuEngine()), status: webgpuStatus },
};

/** `auto` needs no probe: WebGPU is taken by name only, since a software adapter is slower than the CPU. */
const AUTO = "ort";

export const engines = (): Promise<readonly EngineStatus[]> =>
  Promise.all(Object.values(entries).map((entry) => entry.status()));

/** @throws KoalaError E_ENGINE for an unknown name, or for an engine that is not there, with the reason */
export async function engine(name: string): Promise<Engine> {
  const wanted = name === "auto" ? AUTO : name;
  const entry = Object.hasOwn(entries, wanted) ? entries[wanted] : undefined;
  check(entry !== undefined, "E_ENGINE", () => {
    const near = nearest(wanted, ["auto", ...Object.keys(entries)])[0];
    return {
      where: "engine",
      expected: `one of auto, ${Object.keys(entries).join(", ")}`,
      got: wanted,
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    };
  });
  const status = await entry.status();
  if (!status.isAvailable) {
    const there = (await engines()).filter(({ isAvailable }) => isAvailable).map(({ name: other }) => other);
    throw new KoalaError("E_ENGINE", {
      where: `engine ${wanted}`,
      expected: "an engine that runs on this machine",
      got: status.detail,
      hint: there.length === 0 ? "None does: koala engines says why." : `Here runs ${there.join(", ")}.`,
    });
  }
  return entry.open();
}
