/** A model's networks in the precision that a request names: bf16 is the engine's to compute in, weights in blocks are made here. */

import { check } from "../core/assert.ts";
import { BF16_HINT } from "../engine/compile.ts";
import type { Value } from "../graph/op.ts";
import { quantizedStore } from "../quantize/store.ts";
import { weightsRecipe } from "../quantize/weights.ts";
import type { Engine, Precision } from "../runtime/session.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { mergedStore } from "../weights/merged.ts";
import type { Model } from "./model.ts";
import { storesOf } from "./parts-of.ts";
import { type PrecisionName, precisionNames, type Request } from "./request.ts";

/** What the engine computes in. */
export const computedIn = (precision: PrecisionName): Precision => (precision === "bf16" ? "bf16" : "f32");

/** Those that the model can be drawn in, `usual` first: what the engine computes in, and fewer bits of weights that are floats. */
export function precisionsOf(
  model: Model,
  { precisions: computed = ["f32"] }: Engine,
  usual: PrecisionName = "f32",
): PrecisionName[] {
  const isPacked = storesOf(model).some(({ recipe }) => recipe !== undefined);
  return precisionNames
    .filter((name) => (name === "int8" || name === "int4" ? !isPacked : computed.includes(name)))
    .toSorted((a, b) => Number(b === usual) - Number(a === usual));
}

/**
 * What a request is drawn in that names none: f32. Only where products are of integers anyway, their rounding is coarser than
 * bf16's, and the rest is computed in that where the engine has it: on processors with AMX a whole picture takes a third of the time.
 */
export function usualPrecision(model: Model, { precisions: computed = [] }: Engine): PrecisionName {
  const multipliesIntegers = Object.values(model.denoiser.store.recipe?.layers ?? {}).some(
    ({ kind }) => kind === "channels",
  );
  return multipliesIntegers && computed.includes("bf16") ? "bf16" : "f32";
}

/** @throws KoalaError E_REQUEST for a precision that the model has not on that engine */
export function checkOffered(
  { precision = "f32" }: Request,
  offered: readonly PrecisionName[],
  engine: string,
): void {
  check(offered.includes(precision), "E_REQUEST", () => ({
    where: "precision",
    expected: `one that this model has on ${engine}: ${offered.join(", ")}`,
    got: precision,
    hint:
      precision === "bf16"
        ? BF16_HINT
        : "Its weights are integers already: take the model that it was quantized from.",
  }));
}

/** Latent cells of the graph that a recipe is read off: which layers there are does not hang on it. */
const cells = 64;

/**
 * The model with the weights of its denoiser and encoders as `precision` has them. They are packed when a network is compiled,
 * one at a time; nothing is kept of the floats. Low-rank additions are summed into the weights before.
 */
export function inPrecision(model: Model, precision: PrecisionName): Model {
  if (precision !== "int8" && precision !== "int4") return model;
  const bits = precision === "int8" ? 8 : 4;
  const packed = <N extends { readonly store: TensorStore }>(
    network: N,
    outputs: Readonly<Record<string, Value>>,
  ): N => ({ ...network, store: quantizedStore(mergedStore(network.store), weightsRecipe(outputs, bits)) });
  const { denoiser, texts } = model;
  const tokens = texts[0]?.tokenizer.maxLength ?? 1;
  return {
    ...model,
    denoiser: packed(denoiser, denoiser.graph({ batch: 1, height: cells, width: cells, tokens })),
    texts: texts.map((text) => packed(text, text.graph(1))),
  };
}
