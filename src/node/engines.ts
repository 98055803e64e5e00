/** Every engine of this package under Node, there or not. */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import type { Engine, EngineStatus } from "../runtime/session.ts";
import { ortEngine, ortStatus, webgpuEngine, webgpuStatus } from "./ort-node.ts";

interface Entry {
  status(): EngineStatus | Promise<EngineStatus>;
  open(): Engine;
}

const known: Readonly<Record<string, Entry>> = {
  ort: { status: ortStatus, open: ortEngine },
  webgpu: { status: webgpuStatus, open: webgpuEngine },
};

/** `auto` needs no probe: WebGPU is taken by name only, since a software adapter is slower than the CPU. */
const AUTO = "ort";

export const engines = (): Promise<readonly EngineStatus[]> =>
  Promise.all(Object.values(known).map(({ status }) => status()));

/** @throws KoalaError E_ENGINE for an unknown name, or when the engine is not there and why */
export async function engine(name: string): Promise<Engine> {
  const wanted = name === "auto" ? AUTO : name;
  const entry = Object.hasOwn(known, wanted) ? known[wanted] : undefined;
  check(entry !== undefined, "E_ENGINE", () => {
    const near = nearest(name, ["auto", ...Object.keys(known)])[0];
    return {
      where: "engine",
      expected: `auto, ${Object.keys(known).join(" or ")}`,
      got: JSON.stringify(name),
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    };
  });
  const { isAvailable, detail } = await entry.status();
  if (!isAvailable) {
    const there = (await engines()).filter((row) => row.isAvailable).map((row) => row.name);
    check(false, "E_ENGINE", () => ({
      where: `engine ${wanted}`,
      expected: "one that this machine has",
      got: detail,
      hint: there.length === 0 ? "No engine works here." : `Here there is ${there.join(", ")}.`,
    }));
  }
  return entry.open();
}
