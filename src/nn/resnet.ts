/**
 * The residual block of the U-Net and of the VAE.
 * Source: Ho et al. 2020, arXiv:2006.11239, appendix B; names of diffusers' `ResnetBlock2D`.
 */

import { labelled, type Value } from "../graph/op.ts";
import { add, reshape, silu, tap } from "../ops/index.ts";
import { conv } from "./conv.ts";
import { linear } from "./linear.ts";
import { groupNorm } from "./norm.ts";
import type { Scope } from "./scope.ts";

export interface ResnetOptions {
  readonly groups: number;
  readonly eps: number;
}

/**
 * `x` [N, C, H, W] → [N, `out`, H, W]. `emb` [N, T] is silu(time embedding), or null where there is no time.
 * The activation is applied once by the caller, since every block of the network needs the same. Taps the result.
 */
export function resnet(s: Scope, x: Value, emb: Value | null, out: number, o: ResnetOptions): Value {
  return labelled(s.path, () => {
    let h = conv(s.at("conv1"), silu(groupNorm(s.at("norm1"), x, o)), out); // [N, out, H, W]
    if (emb !== null) {
      const shift = linear(s.at("time_emb_proj"), emb, out); // [N, out]
      h = add(h, reshape(shift, [x.shape[0]!, out, 1, 1]));
    }
    h = conv(s.at("conv2"), silu(groupNorm(s.at("norm2"), h, o)), out);
    const base = x.shape[1] === out ? x : conv(s.at("conv_shortcut"), x, out, { kernel: 1 });
    return tap(s.path, add(base, h));
  });
}
