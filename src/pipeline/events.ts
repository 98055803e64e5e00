/** What a running generation tells; every door (terminal, HTTP, page) renders this union. */

import type { Tensor } from "../tensor/tensor.ts";

/** 8-bit RGB pixels, row by row from the top. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

export type StageName = "load" | "text" | "denoise" | "decode";

export type PipelineEvent =
  | { readonly type: "stage"; readonly stage: StageName; readonly detail: string }
  | {
      readonly type: "step";
      /** Steps done, 1 to `steps`. */
      readonly step: number;
      readonly steps: number;
      readonly timestep: number;
      /** Noise level after the step, in units of the data's standard deviation. */
      readonly sigma: number;
      readonly seconds: number;
    }
  | { readonly type: "preview"; readonly step: number; readonly index: number; readonly picture: Picture }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "image"; readonly index: number; readonly seed: number; readonly picture: Picture; readonly latents: Tensor };
