/** `#host` under Node: folders and hub, ONNX Runtime's binding. */

import type { Host } from "../runtime/host.ts";
import { engine, engines } from "./engines.ts";
import { openModel } from "./open-model.ts";

export const host: Host = { openModel, engines, engine };
