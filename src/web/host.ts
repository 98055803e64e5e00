/** `#host` in a browser: sites, hub and the origin-private file system; ONNX Runtime's WebGPU and WebAssembly. */

import type { Host } from "../runtime/host.ts";
import { engine, engines } from "./engines.ts";
import { openModel } from "./models.ts";

export const host: Host = { openModel, engines, engine };
