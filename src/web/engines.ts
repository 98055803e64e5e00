/** Every engine of a browser, there or not. */

import { check } from "../core/assert.ts";
import { nearest } from "../core/nearest.ts";
import { checkedEngine } from "../engine/self-test.ts";
import type { Engine, EngineStatus } from "../runtime/session.ts";
import type { AdapterLimits } from "./messages.ts";
import { largestBuffer, wasmEngine, wasmStatus, webgpuEngine, webgpuStatus } from "./ort-web.ts";

let checked: Promise<Engine> | null = null;
const checkedWebgpu = (): Promise<Engine> => (checked ??= checkedEngine(webgpuEngine()));

const entries = {
  webgpu: { open: checkedWebgpu, status: webgpuStatus },
  wasm: { open: wasmEngine, status: wasmStatus },
} as const;

export const engines = (): Promise<readonly EngineStatus[]> =>
  Promise.all(Object.values(entries).map((entry) => entry.status()));

/** A software adapter is for tests: WebAssembly is many times faster. */
const isSoftware = ({ detail }: EngineStatus): boolean =>
  /swiftshader|llvmpipe|software|basic render/i.test(detail);

/** What the adapter of this browser allows; null where there is none. */
export async function adapterLimits(): Promise<AdapterLimits | null> {
  const [status, bufferBytes] = await Promise.all([webgpuStatus(), largestBuffer()]);
  return bufferBytes === null ? null : { bufferBytes, isSoftware: isSoftware(status) };
}

/** `auto`: WebGPU on a real adapter, else WebAssembly. @throws KoalaError E_ENGINE */
export async function engine(name: string): Promise<Engine> {
  if (name === "auto") {
    const status = await webgpuStatus();
    return status.isAvailable && !isSoftware(status) ? checkedWebgpu() : engine("wasm");
  }
  const entry = Object.hasOwn(entries, name) ? entries[name as keyof typeof entries] : undefined;
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
  check(status.isAvailable, "E_ENGINE", () => ({
    where: `engine ${name}`,
    expected: "an engine that runs in this browser",
    got: status.detail,
    hint:
      name === "webgpu"
        ? "Choose wasm, which runs everywhere."
        : "Use a current Chrome, Edge, Firefox or Safari.",
  }));
  return entry.open();
}
