/** What a server is where it is not told otherwise. */

import { homedir } from "node:os";
import { join } from "node:path";
import type { Limits } from "./models.ts";

export const usual: {
  readonly host: string;
  readonly port: number;
  readonly capacity: number;
  readonly workers: number;
  readonly limits: Limits;
  readonly precisions: null;
} = {
  host: "127.0.0.1",
  port: 7700,
  capacity: 32,
  workers: 1,
  limits: { steps: 150, side: 2048, count: 16 },
  precisions: null,
};

export const usualData = (): string => join(homedir(), ".koala");
