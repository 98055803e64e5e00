/** Other names that the same kind of folder may have inside its files. */

import type { TensorStore } from "../tensor/stored.ts";
import { numberFunctions } from "./ldm.ts";
import { vaeRows } from "./ldm-table.ts";
import { type NameRow, type NumberFunctions, rename } from "./names.ts";
import { deriveStore } from "./stores.ts";

/** Names of tensors as older or newer versions of the libraries write them into the same kind of folder. */
interface Dialect {
  /** Present only in such a file. */
  readonly signature: string;
  readonly rows: readonly NameRow[];
  /** Of the numbers in its rows; absent: they stay as they are. */
  functions?(store: TensorStore): NumberFunctions;
}

const dialects: readonly Dialect[] = [
  {
    // a VAE in the original Stable Diffusion's names, as A1111's users have it (vae-ft-mse-840000-ema-pruned.safetensors)
    signature: "decoder.up.0.block.0.norm1.weight",
    rows: vaeRows,
    functions: (store) => numberFunctions(store, ""),
  },
  {
    // the VAE's attention as older diffusers named it, read still by its `_fix_state_dict_keys_on_load` (SD 1's folders)
    signature: "decoder.mid_block.attentions.0.query.weight",
    rows: [
      ["{head}.query.{rest}", "{head}.to_q.{rest}", "matrix"],
      ["{head}.key.{rest}", "{head}.to_k.{rest}", "matrix"],
      ["{head}.value.{rest}", "{head}.to_v.{rest}", "matrix"],
      ["{head}.proj_attn.{rest}", "{head}.to_out.0.{rest}", "matrix"],
      ["{rest}", "{rest}"],
    ],
  },
  {
    // transformers from 5.6 saves `CLIPTextModel` without the `text_model` that every older file has
    signature: "embeddings.token_embedding.weight",
    rows: [
      ["text_projection.{rest}", "text_projection.{rest}"],
      ["{rest}", "text_model.{rest}"],
    ],
  },
];

/**
 * `store` under the names that most checkpoints of its kind use, when it speaks another dialect.
 * @throws KoalaError E_WEIGHTS
 */
export function normalizeNames(store: TensorStore, where: string): TensorStore {
  const dialect = dialects.find(({ signature }) => store.tensors.has(signature));
  if (dialect === undefined) return store;
  const { rows } = dialect;
  const functions = dialect.functions?.(store) ?? {};
  return deriveStore(store, rename(store, { rows, functions, where }).derived, where);
}
