/** The door `koala-diffusion/graph`: building, differentiating, lowering and running graphs. */

export { grad } from "./autodiff/grad.ts";
export { type CompileOptions, compile } from "./engine/compile.ts";
export type { Program } from "./engine/program.ts";
export { compileStepwise, type StepwiseOptions } from "./engine/stepwise.ts";
export { interpret, type Leaves } from "./graph/interpret.ts";
export type { NdArray, OpDef, Target, TensorType, Value } from "./graph/op.ts";
export { tapsOf, topological } from "./graph/order.ts";
export { digest, print } from "./graph/print.ts";
export { verify } from "./graph/verify.ts";
export { Scope } from "./nn/index.ts";
export * from "./ops/index.ts";
export { host } from "./runtime/host.ts";
export type { DType } from "./tensor/dtype.ts";
export { float32, int64, type Tensor, tensor } from "./tensor/tensor.ts";
export { type Component, openComponent } from "./weights/layout.ts";
