/** The table of contents: every op by name, complete by type, and the functions that build with them. */

import type { OpDef } from "../graph/op.ts";
import * as activation from "./activation.ts";
import { attentionDef } from "./attention.ts";
import { blockLinearDef, dequantizeBlocksDef } from "./blocks.ts";
import { broadcastToDef, sumToDef } from "./broadcast.ts";
import * as convolution from "./conv.ts";
import * as elementwise from "./elementwise.ts";
import { gatherDef, scatterAddDef } from "./gather.ts";
import { linearDef, matmulDef } from "./matmul.ts";
import { groupNormDef, layerNormDef } from "./norm.ts";
import { dequantizeDef, integerConvDef, integerLinearDef, quantizeDef } from "./quantize.ts";
import { maxDef, meanDef } from "./reduce.ts";
import { resizeNearestDef } from "./resize.ts";
import { reshapeDef, transposeDef } from "./shape.ts";
import { concatDef, padDef, sliceDef } from "./slice.ts";
import { constantDef, inputDef, paramDef, stopGradientDef, tapDef } from "./source.ts";

export type OpName =
  | "param"
  | "input"
  | "constant"
  | "tap"
  | "stopGradient"
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "maximum"
  | "minimum"
  | "less"
  | "greater"
  | "equal"
  | "where"
  | "cast"
  | "neg"
  | "abs"
  | "exp"
  | "log"
  | "sqrt"
  | "reciprocal"
  | "sigmoid"
  | "tanh"
  | "erf"
  | "sin"
  | "cos"
  | "relu"
  | "broadcastTo"
  | "sumTo"
  | "mean"
  | "max"
  | "reshape"
  | "transpose"
  | "slice"
  | "pad"
  | "concat"
  | "gather"
  | "scatterAdd"
  | "matmul"
  | "linear"
  | "conv"
  | "convTranspose"
  | "convWeightGrad"
  | "resizeNearest"
  | "softmax"
  | "gelu"
  | "swish"
  | "clamp"
  | "layerNorm"
  | "groupNorm"
  | "attention"
  | "quantize"
  | "dequantize"
  | "integerLinear"
  | "integerConv"
  | "dequantizeBlocks"
  | "blockLinear";

/** `OpDef` of any attributes: methods are checked bivariantly, so a table can hold them all. */
export const opDefs: Readonly<Record<OpName, OpDef>> = {
  param: paramDef,
  input: inputDef,
  constant: constantDef,
  tap: tapDef,
  stopGradient: stopGradientDef,
  add: elementwise.addDef,
  sub: elementwise.subDef,
  mul: elementwise.mulDef,
  div: elementwise.divDef,
  maximum: elementwise.maximumDef,
  minimum: elementwise.minimumDef,
  less: elementwise.lessDef,
  greater: elementwise.greaterDef,
  equal: elementwise.equalDef,
  where: elementwise.whereDef,
  cast: elementwise.castDef,
  neg: elementwise.negDef,
  abs: elementwise.absDef,
  exp: elementwise.expDef,
  log: elementwise.logDef,
  sqrt: elementwise.sqrtDef,
  reciprocal: elementwise.reciprocalDef,
  sigmoid: elementwise.sigmoidDef,
  tanh: elementwise.tanhDef,
  erf: elementwise.erfDef,
  sin: elementwise.sinDef,
  cos: elementwise.cosDef,
  relu: elementwise.reluDef,
  broadcastTo: broadcastToDef,
  sumTo: sumToDef,
  mean: meanDef,
  max: maxDef,
  reshape: reshapeDef,
  transpose: transposeDef,
  slice: sliceDef,
  pad: padDef,
  concat: concatDef,
  gather: gatherDef,
  scatterAdd: scatterAddDef,
  matmul: matmulDef,
  linear: linearDef,
  conv: convolution.convDef,
  convTranspose: convolution.convTransposeDef,
  convWeightGrad: convolution.convWeightGradDef,
  resizeNearest: resizeNearestDef,
  softmax: activation.softmaxDef,
  gelu: activation.geluDef,
  swish: activation.swishDef,
  clamp: activation.clampDef,
  layerNorm: layerNormDef,
  groupNorm: groupNormDef,
  attention: attentionDef,
  quantize: quantizeDef,
  dequantize: dequantizeDef,
  integerLinear: integerLinearDef,
  integerConv: integerConvDef,
  dequantizeBlocks: dequantizeBlocksDef,
  blockLinear: blockLinearDef,
};

export { clamp, gelu, quickGelu, silu, softmax } from "./activation.ts";
export { type AttentionOptions, attention } from "./attention.ts";
export { blockLinear, dequantizeBlocks } from "./blocks.ts";
export { broadcastTo, sumTo } from "./broadcast.ts";
export { type ConvOptions, type ConvTransposeOptions, conv, convTranspose } from "./conv.ts";
export {
  abs,
  add,
  cast,
  cos,
  div,
  equal,
  erf,
  exp,
  greater,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sin,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from "./elementwise.ts";
export { gather, scatterAdd } from "./gather.ts";
export { linear, matmul } from "./matmul.ts";
export { groupNorm, layerNorm } from "./norm.ts";
export { dequantize, integerConv, integerLinear, quantize } from "./quantize.ts";
export { max, mean, type ReduceOptions, sum } from "./reduce.ts";
export { resizeNearest } from "./resize.ts";
export { reshape, transpose } from "./shape.ts";
export { concat, pad, slice, split } from "./slice.ts";
export { constant, input, param, scalar, stopGradient, tap } from "./source.ts";
