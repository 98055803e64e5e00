/** What the doors of the server share. */

import type { Logger } from "pino";
import type { AccessOptions } from "./access.ts";
import type { Inspector } from "./inspector.ts";
import type { Jobs } from "./jobs.ts";
import type { Meters } from "./metrics.ts";
import type { Models } from "./models.ts";
import type { Store } from "./store.ts";
import type { Page } from "./studio.ts";

export interface ServerParts {
  readonly jobs: Jobs;
  readonly store: Store;
  readonly models: Models;
  readonly inspector: Inspector;
  readonly meters: Meters;
  readonly log: Logger;
  readonly access: AccessOptions;
  /** The folder of training runs that is shown; null: none. */
  readonly runs: string | null;
  /** A file of the studio by its path; null where there is none. */
  page(path: string): Page | null;
}
