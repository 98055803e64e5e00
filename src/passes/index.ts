/** Named pipelines of passes. */

import { fold } from "./fold.ts";
import type { Outputs } from "./rewrite.ts";
import { share } from "./share.ts";

/** What every compiled graph goes through. */
export const inference = (outputs: Outputs): Outputs => share(fold(outputs));
