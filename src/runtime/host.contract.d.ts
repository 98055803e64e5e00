/** What `#host` must export, for the type checker: the implementation is chosen by import conditions. */
import type { Host } from "./host.ts";
export declare const host: Host;
