/** A fully connected layer. Source: PyTorch `nn.Linear`, whose names and default initialization it keeps. */

import { labelled, type Value } from "../graph/op.ts";
import { linear as affine } from "../ops/index.ts";
import { fanIn, type Init, type Scope } from "./scope.ts";

export interface LinearOptions {
  /** Whether there is a bias; default true. */
  readonly bias?: boolean;
  /** How the weight is drawn; default PyTorch's. */
  readonly init?: Init;
  /** How the bias is drawn; default PyTorch's. */
  readonly biasInit?: Init;
}

/** `x` [.., I] → [.., `out`]. Parameters `weight` [out, I], `bias` [out]. */
export function linear(s: Scope, x: Value, out: number, o: LinearOptions = {}): Value {
  return labelled(s.path, () => {
    const width = x.shape.at(-1)!;
    const weight = s.param("weight", [out, width], o.init ?? fanIn(width));
    const bias = (o.bias ?? true) ? s.param("bias", [out], o.biasInit ?? fanIn(width)) : null;
    return affine(x, weight, bias);
  });
}
