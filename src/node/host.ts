/** `#host` under Node: folders and hub, ONNX Runtime's binding. */

import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import type { Host } from "../runtime/host.ts";
import type { Engine, EngineStatus } from "../runtime/session.ts";
import { openModel } from "./open-model.ts";
import { ortEngine, ortStatus, webgpuEngine, webgpuStatus } from "./ort-node.ts";

interface EngineEntry {
  make(): Engine;
  status(): EngineStatus | Promise<EngineStatus>;
}

/** By the names that `--engine` takes. */
const entries: Readonly<Record<string, EngineEntry>> = {
  ort: { make: ortEngine, status: ortStatus },
  webgpu: { make: webgpuEngine, status: webgpuStatus },
};

export const host: Host = {
  openModel,
  engines: async () => Promise.all(Object.values(entries).map((entry) => entry.status())),
  async engine(name) {
    const wanted = name === "auto" ? "ort" : name;
    const entry = Object.hasOwn(entries, wanted) ? entries[wanted] : undefined;
    if (entry === undefined) {
      const near = nearest(wanted, ["auto", ...Object.keys(entries)])[0];
      throw new KoalaError("E_ENGINE", {
        where: "engine",
        expected: `one of auto, ${Object.keys(entries).join(", ")}`,
        got: wanted,
        ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
      });
    }
    const status = await entry.status();
    if (!status.isAvailable)
      throw new KoalaError("E_ENGINE", {
        where: `engine ${wanted}`,
        expected: "an engine that runs on this machine",
        got: status.detail,
        hint: "koala engines lists those that do.",
      });
    return entry.make();
  },
};
