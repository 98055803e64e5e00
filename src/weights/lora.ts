/**
 * LoRA files by the names that the field writes: diffusers and PEFT (`unet.….lora_A.weight`), diffusers before that
 * (`….processor.to_q_lora.down.weight`), and kohya-ss/sd-scripts (`lora_unet_…lora_down.weight`), whose U-Net may be
 * named as diffusers or as the original Stable Diffusion names it.
 *
 * Sources: diffusers 0.42, `loaders/lora_conversion_utils.py`; kohya-ss/sd-scripts, `networks/lora.py`.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import type { StoredAdapter, TensorStore } from "../tensor/stored.ts";
import { toFloat32 } from "../tensor/tensor.ts";
import type { LoraScale } from "./lora-scale.ts";

/** Parts of a model that a LoRA may be of. */
export const loraParts = ["unet", "transformer", "text_encoder", "text_encoder_2"] as const;
export type LoraPart = (typeof loraParts)[number];

/** The pair of matrices of one layer, by their names in the file. */
export interface LoraLayer {
  readonly part: LoraPart;
  /** The weight that it changes, as the file means it: with dots, or flat as kohya writes it. */
  readonly module: string;
  readonly down: string;
  readonly up: string;
  /** Name of its α, which is divided by the rank; null: `LoraScale` has it, or the scale is 1. */
  readonly alpha: string | null;
}

/** Kinds of adapters that are no LoRA, by what their names hold. */
const others: readonly (readonly [RegExp, string])[] = [
  [/dora_scale|magnitude_vector/, "DoRA"],
  [/hada_w/, "LoHa"],
  [/lokr_w/, "LoKr"],
  [/lora_mid/, "LoCon with a core (lora_mid)"],
];

const suffix =
  /^(.*?)[._](?:lora_A(?:\.default)?|lora_down|lora\.down|lora_linear_layer\.down|lora_B(?:\.default)?|lora_up|lora\.up|lora_linear_layer\.up)\.weight$/;
const isDown = (name: string): boolean => /lora_A|lora_down|lora\.down|lora_linear_layer\.down/.test(name);

/** The prefix of a tensor's name → part, and the rest. */
function partOf(module: string): { part: LoraPart; module: string } | null {
  for (const [prefix, part] of [
    ["lora_unet_", "unet"],
    ["lora_te1_", "text_encoder"],
    ["lora_te2_", "text_encoder_2"],
    ["lora_te_", "text_encoder"],
  ] as const)
    if (module.startsWith(prefix)) return { part, module: sgm(module.slice(prefix.length)) };
  const dotted = module.replace(/^base_model\.model\./, "");
  const part = loraParts.find((name) => dotted.startsWith(`${name}.`));
  if (part !== undefined) return { part, module: dotted.slice(part.length + 1) };
  // PEFT saves what it was given, a network by itself
  if (/^(down_blocks|up_blocks|mid_block)\./.test(dotted)) return { part: "unet", module: dotted };
  return /^(transformer_blocks|pos_embed|adaln_single|caption_projection|proj_out)\./.test(dotted)
    ? { part: "transformer", module: dotted }
    : null;
}

/** Two layers a block and one down- or upsampler: the U-Nets that kohya's original names are written for. */
const LAYERS = 2;

/** Flat names of the original layout as flat names of diffusers'; others stay. */
function sgm(flat: string): string {
  const [, kind, number, sub, rest = ""] = /^(input_blocks|output_blocks)_(\d+)_(\d)_(.+)$/.exec(flat) ?? [];
  if (kind !== undefined) {
    const n = Number(number) - (kind === "input_blocks" ? 1 : 0);
    const level = Math.floor(n / (LAYERS + 1));
    const layer = n % (LAYERS + 1);
    const side = kind === "input_blocks" ? "down" : "up";
    if (kind === "input_blocks" && layer === LAYERS) return `down_blocks_${level}_downsamplers_0_conv`;
    if (rest === "conv") return `up_blocks_${level}_upsamplers_0_conv`;
    return `${side}_blocks_${level}_${sub === "0" ? "resnets" : "attentions"}_${layer}_${resnetPart(rest)}`;
  }
  const [, middle, inner = ""] = /^middle_block_(\d)_(.+)$/.exec(flat) ?? [];
  if (middle === undefined) return flat;
  return middle === "1"
    ? `mid_block_attentions_0_${inner}`
    : `mid_block_resnets_${Number(middle) / 2}_${resnetPart(inner)}`;
}

const resnetParts: readonly (readonly [string, string])[] = [
  ["in_layers_2", "conv1"],
  ["out_layers_3", "conv2"],
  ["emb_layers_1", "time_emb_proj"],
  ["skip_connection", "conv_shortcut"],
];
const resnetPart = (name: string): string => resnetParts.find(([theirs]) => theirs === name)?.[1] ?? name;

/** What is in a LoRA file. */
export interface LoraContent {
  /** In the order of their names. */
  readonly layers: readonly LoraLayer[];
  /** Tensors that are of no layer, such as a whole difference of a bias (`diff_b`): they change nothing here. */
  readonly unread: readonly string[];
}

/**
 * Reads the names of a LoRA file.
 * @throws KoalaError E_WEIGHTS when it is no LoRA, of a kind that is not read, or lacks one of a pair
 */
export function loraContent(store: TensorStore, where: string): LoraContent {
  const names = [...store.tensors.keys()].sort();
  for (const [pattern, kind] of others) {
    const found = names.find((name) => pattern.test(name));
    if (found !== undefined)
      throw new KoalaError("E_WEIGHTS", {
        where,
        expected: "a LoRA (pairs of lora_A and lora_B, or lora_down and lora_up)",
        got: `${kind}: ${found}`,
      });
  }
  const pairs = new Map<string, { down?: string; up?: string }>();
  for (const name of names) {
    const module = suffix.exec(name)?.[1];
    if (module === undefined) continue; // α, or something beside the adapters
    pairs.set(module, { ...pairs.get(module), [isDown(name) ? "down" : "up"]: name });
  }
  const layers: LoraLayer[] = [];
  for (const [module, { down, up }] of pairs) {
    const placed = partOf(module);
    if (placed === null) continue;
    check(down !== undefined && up !== undefined, "E_WEIGHTS", () => ({
      where: `${where}: ${module}`,
      expected: "both matrices of the layer",
      got: down === undefined ? "only the upper one" : "only the lower one",
    }));
    const alpha = store.tensors.has(`${module}.alpha`) ? `${module}.alpha` : null;
    layers.push({ part: placed.part, module: withOut(placed.module), down, up, alpha });
  }
  check(layers.length > 0, "E_WEIGHTS", () => ({
    where,
    expected: "a LoRA of a U-Net, a transformer or text encoders",
    got: names.length === 0 ? "no tensors" : `other tensors, such as ${names[0]}`,
  }));
  const read = new Set(layers.flatMap(({ down, up, alpha }) => [down, up, alpha]));
  return { layers, unread: names.filter((name) => !read.has(name)) };
}

/** Before PEFT, layers were called by an attention's processor, and the output projection without its number. */
const withOut = (module: string): string =>
  module.replace(".processor.", ".").replace(/\.to_out$/, ".to_out.0");

/** What a LoRA does to one part of a model. */
export interface LoraMatch {
  /** By the name of the weight. */
  readonly layers: ReadonlyMap<string, LoraLayer>;
  /** Blocks of the file, with how many of their layers are used and how many this part has no place for. */
  readonly blocks: readonly { readonly block: string; readonly used: number; readonly dropped: number }[];
}

/** `down_blocks.1.attentions.0` of a module's name, dotted or flat; text layers by their encoder's. */
const blockOf = (module: string): string => {
  const [, kind, n, what, m] =
    /^(down_blocks|up_blocks|mid_block)(?:[._](\d+))?[._](attentions|resnets|downsamplers|upsamplers)[._](\d+)/.exec(
      module,
    ) ?? [];
  if (kind === undefined) return module.split(/[._]/)[0] ?? module;
  return n === undefined ? `${kind}.${what}.${m}` : `${kind}.${n}.${what}.${m}`;
};

/**
 * Which weights of a part the layers are of. A U-Net that was cut as KOALA and BK-SDM cut it keeps the first and the
 * last layer of a block on the way up: a LoRA of its teacher is read so, its last layer for the student's last.
 */
export function matchLora(layers: readonly LoraLayer[], weights: Iterable<string>): LoraMatch {
  const modules = new Map(
    [...weights]
      .filter((name) => name.endsWith(".weight"))
      .map((name) => [name.slice(0, -".weight".length).replaceAll(".", "_"), name] as const),
  );
  const lastOf = lastUpLayers([...modules.keys()]);
  const theirLast = lastUpLayers(layers.map(({ module }) => module.replaceAll(".", "_")));
  const found = new Map<string, LoraLayer>();
  const blocks = new Map<string, { used: number; dropped: number }>();
  for (const layer of layers) {
    const flat = layer.module.replaceAll(".", "_");
    const name = modules.get(ofStudent(flat, lastOf, theirLast)) ?? modules.get(`text_model_${flat}`); // as transformers 5 names
    const block = blockOf(layer.module);
    const count = blocks.get(block) ?? { used: 0, dropped: 0 };
    blocks.set(
      block,
      name === undefined ? { ...count, dropped: count.dropped + 1 } : { ...count, used: count.used + 1 },
    );
    if (name !== undefined) found.set(name, layer);
  }
  return { layers: found, blocks: [...blocks].map(([block, count]) => ({ block, ...count })) };
}

const upLayer = /^up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)$/;

/** The highest layer of each block on the way up. */
function lastUpLayers(flat: readonly string[]): Map<string, number> {
  const last = new Map<string, number>();
  for (const name of flat) {
    const [, block, what, layer] = upLayer.exec(name) ?? [];
    if (block !== undefined)
      last.set(`${block} ${what}`, Math.max(last.get(`${block} ${what}`) ?? 0, Number(layer)));
  }
  return last;
}

/** A teacher's flat name as its student's; "" for a layer that was cut away. */
function ofStudent(
  flat: string,
  own: ReadonlyMap<string, number>,
  theirs: ReadonlyMap<string, number>,
): string {
  const [, block, what, layer, rest] = upLayer.exec(flat) ?? [];
  if (block === undefined) return flat;
  const [mine, last] = [own.get(`${block} ${what}`) ?? 0, theirs.get(`${block} ${what}`) ?? 0];
  if (last <= mine) return flat;
  const number = Number(layer);
  if (number === last) return `up_blocks_${block}_${what}_${mine}_${rest}`;
  return number < mine ? flat : "";
}

/**
 * `base` with the layers of `match` added, `weight` times: its tensors are those of both, the LoRA's under `prefix`.
 * @throws KoalaError E_WEIGHTS when the base's weights are integers, or its own adapters have that prefix
 */
export async function withLora(
  base: TensorStore,
  lora: TensorStore,
  match: LoraMatch,
  o: {
    readonly weight: number;
    readonly prefix: string;
    readonly where: string;
    /** Of layers without an α of their own; absent: 1. */
    readonly scale?: LoraScale;
  },
): Promise<TensorStore> {
  check(base.recipe === undefined, "E_WEIGHTS", () => ({
    where: o.where,
    expected: "a model with float weights to add to",
    got: "one that was quantized",
    hint: "Use the LoRA with the model that was quantized; --precision int8 or int4 packs that as it is loaded.",
  }));
  const tensors = new Map(base.tensors);
  const adapters = new Map<string, readonly StoredAdapter[]>(base.adapters ?? []);
  for (const [name, layer] of match.layers) {
    const { down, up, alpha } = layer;
    for (const own of [down, up]) {
      const stored = lora.tensors.get(own);
      if (stored !== undefined) tensors.set(o.prefix + own, stored);
    }
    const rank = lora.tensors.get(down)?.shape[0] ?? 1;
    const scale =
      alpha === null ? (o.scale?.(layer, rank) ?? 1) : (toFloat32(await lora.read(alpha))[0] ?? rank) / rank;
    const adapter = { down: o.prefix + down, up: o.prefix + up, scale: o.weight * scale };
    adapters.set(name, [...(adapters.get(name) ?? []), adapter]);
  }
  return {
    tensors,
    adapters,
    read: (name) => (name.startsWith(o.prefix) ? lora.read(name.slice(o.prefix.length)) : base.read(name)),
  };
}
