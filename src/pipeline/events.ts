/** What a running generation tells; every door (terminal, HTTP, page) renders this union. */

import type { Picture } from "../image/pixels.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Request } from "./request.ts";

export type { Picture };

export type StageName = "load" | "text" | "encode" | "denoise" | "decode";

export type PipelineEvent =
  | { readonly type: "stage"; readonly stage: StageName; readonly detail: string }
  | {
      readonly type: "step";
      /** Which of the request's pictures, from 0. */
      readonly index: number;
      /** Network calls done for this picture, 1 to `steps`. */
      readonly step: number;
      readonly steps: number;
      readonly timestep: number;
      /** Noise level after the step, in units of the data's standard deviation. */
      readonly sigma: number;
      /** That the step took. */
      readonly seconds: number;
    }
  | { readonly type: "preview"; readonly index: number; readonly step: number; readonly picture: Picture }
  | { readonly type: "warning"; readonly message: string }
  | {
      readonly type: "image";
      readonly index: number;
      readonly seed: number;
      /** For the picture to record: what drew it, with its own seed, less what had no effect. */
      readonly request: Request;
      readonly picture: Picture;
      /** What was decoded, [1, L, h, w], as the U-Net sees latents. */
      readonly latents: Tensor;
    };
