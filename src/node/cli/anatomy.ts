/** What a model consists of: its networks with their counts, read off graphs and, where there are weights, off the files. */

import { dirname } from "node:path";
import { check } from "../../core/assert.ts";
import type { Value } from "../../graph/op.ts";
import { checkpointBytes, countParameters, flopsOf, type Parameters } from "../../models/census.ts";
import { buildClipText, clipTextConfig } from "../../models/clip-text.ts";
import { buildDit } from "../../models/dit.ts";
import { ditConfig } from "../../models/dit-config.ts";
import { type AnyPreset, anyPresetFiles } from "../../models/pixart-presets.ts";
import { buildT5, t5Config } from "../../models/t5-encoder.ts";
import { buildUNet } from "../../models/unet.ts";
import { unetConfig } from "../../models/unet-config.ts";
import { buildVaeDecoder, buildVaeEncoder, vaeConfig, vaeFactor } from "../../models/vae.ts";
import {
  buildVaeTinyDecoder,
  buildVaeTinyEncoder,
  vaeTinyConfig,
  vaeTinyFactor,
} from "../../models/vae-tiny.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { openComponent, openStore, parseModelIndex, readJson, readModelIndex } from "../../weights/layout.ts";
import { detectSingleFile } from "../../weights/ldm.ts";

/** A network before it is measured. */
export interface Organ {
  /** Its folder: `unet`, `text_encoder_2`. */
  readonly name: string;
  readonly className: string;
  readonly config: unknown;
  /** Its weights; null in a preset, which has none. */
  readonly store: TensorStore | null;
}

export interface Anatomy {
  /** The pipeline's class; null for a lone network. */
  readonly pipeline: string | null;
  readonly organs: readonly Organ[];
  readonly scheduler: unknown;
  readonly modelIndex: unknown;
}

/** Classes whose graph we can build. */
const networks = [
  "UNet2DConditionModel",
  "Transformer2DModel",
  "PixArtTransformer2DModel",
  "AutoencoderKL",
  "AutoencoderTiny",
  "CLIPTextModel",
  "CLIPTextModelWithProjection",
  "T5EncoderModel",
];

const isNetwork = (className: unknown): className is string =>
  typeof className === "string" && networks.includes(className);

/** The class that a `config.json` says: diffusers writes `_class_name`, transformers `architectures`. */
function classOf(config: unknown): unknown {
  const json = config as { _class_name?: unknown; architectures?: readonly unknown[] } | null;
  return json?._class_name ?? json?.architectures?.[0];
}

/** A preset's networks. */
export function presetAnatomy(p: AnyPreset): Anatomy {
  const files = anyPresetFiles(p);
  const organs = Object.entries(files).flatMap(([path, config]): Organ[] => {
    const className = classOf(config);
    return path.endsWith("/config.json") && isNetwork(className)
      ? [{ name: dirname(path), className, config, store: null }]
      : [];
  });
  return { pipeline: p.pipeline, organs, scheduler: p.scheduler, modelIndex: files["model_index.json"] };
}

/**
 * The networks of a folder, of one network's own folder, or of a single checkpoint file.
 * @throws KoalaError E_MODEL, E_FILE, E_CONFIG, E_SAFETENSORS, E_WEIGHTS
 */
export async function modelAnatomy(files: ModelFiles): Promise<Anatomy> {
  const index = await readModelIndex(files);
  const paths = await files.list();
  if (index !== null) {
    const organs: Organ[] = [];
    for (const [name, { className }] of index.components) {
      if (isNetwork(className)) organs.push({ name, className, ...(await openComponent(files, name)) });
    }
    const scheduler = "scheduler/scheduler_config.json";
    const modelIndex = await readJson(files, "model_index.json");
    const { className } = parseModelIndex(modelIndex, files.location);
    return {
      pipeline: className,
      organs,
      scheduler: paths.includes(scheduler) ? await readJson(files, scheduler) : null,
      modelIndex,
    };
  }
  const lone = { pipeline: null, scheduler: null, modelIndex: null };
  if (paths.includes("config.json")) {
    const { config, store } = await openComponent(files, "");
    const className = classOf(config);
    check(isNetwork(className), "E_MODEL", () => ({
      where: `${files.location}/config.json`,
      expected: `a class that koala knows: ${networks.join(", ")}`,
      got: JSON.stringify(className ?? null),
    }));
    return { ...lone, organs: [{ name: "(this folder)", className, config, store }] };
  }
  const weights = paths.filter((path) => path.endsWith(".safetensors"));
  check(weights.length === 1, "E_MODEL", () => ({
    where: files.location,
    expected: "a model_index.json, a config.json or one checkpoint in safetensors",
    got: paths.length === 0 ? "nothing" : paths.slice(0, 4).join(", "),
  }));
  const single = await detectSingleFile(await openStore(files, weights), files.location);
  const organs = [...single.parts].map(([name, { className, config, store }]) => ({
    name,
    className,
    config,
    store,
  }));
  return { ...lone, organs };
}

/** What the amount of work depends on. */
export interface Workload {
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
  /** Pixels a latent cell. */
  readonly factor: number;
  /** Of the text. */
  readonly tokens: number;
}

/**
 * The work of one picture of that size with this model. Where there is no VAE or no text encoder, 8 pixels a cell and 77
 * tokens, as in every published model of these families.
 */
export function workloadOf(organs: readonly Organ[], width: number, height: number): Workload {
  const vae = organs.find(({ name }) => name === "vae");
  const text = organs.find(({ name }) => name === "text_encoder");
  const factor =
    vae === undefined
      ? 8
      : vae.className === "AutoencoderTiny"
        ? vaeTinyFactor(vaeTinyConfig(vae.config))
        : vaeFactor(vaeConfig(vae.config));
  const transformer = organs.find(({ name }) => name === "transformer");
  if (transformer !== undefined) return { width, height, factor, tokens: pixartTokens(transformer.config) };
  return { width, height, factor, tokens: text === undefined ? 77 : clipTextConfig(text.config).positions };
}

/** Longest prompts of PixArt-α, which is told sizes or has 512 px, and of Σ, which says its interpolation: diffusers' pipelines. */
const pixartTokens = (config: unknown): number =>
  (config as { interpolation_scale?: unknown } | null)?.interpolation_scale == null ? 120 : 300;

/** The two networks of a VAE count together; only the decoder runs when a picture is made. */
interface Graphs {
  readonly parameters: Parameters;
  readonly outputs: Iterable<Value>;
}

/** Where shapes matter not, only names: the smallest picture that every encoder takes. */
const small = { batch: 1, height: 64, width: 64 };

function vaeGraphs(
  encoder: { parameters: Parameters },
  decoder: { parameters: Parameters; outputs: Readonly<Record<string, Value>> },
): Graphs {
  return {
    parameters: new Map([...encoder.parameters, ...decoder.parameters]),
    outputs: Object.values(decoder.outputs),
  };
}

function graphsOf({ className, config, name }: Organ, { width, height, factor, tokens }: Workload): Graphs {
  const where = `${name}/config.json`;
  const latent = { batch: 1, height: Math.ceil(height / factor), width: Math.ceil(width / factor) };
  switch (className) {
    case "UNet2DConditionModel": {
      const { parameters, outputs } = buildUNet(unetConfig(config, where), { ...latent, tokens });
      return { parameters, outputs: Object.values(outputs) };
    }
    case "Transformer2DModel":
    case "PixArtTransformer2DModel": {
      const c = ditConfig(config, where);
      const whole = (cells: number) => Math.ceil(cells / c.patch) * c.patch;
      const size = { batch: 1, height: whole(latent.height), width: whole(latent.width), tokens };
      const { parameters, outputs } = buildDit(c, size);
      return { parameters, outputs: Object.values(outputs) };
    }
    case "T5EncoderModel": {
      const { parameters, outputs } = buildT5(t5Config(config, where), { batch: 1, tokens });
      return { parameters, outputs: Object.values(outputs) };
    }
    case "AutoencoderKL": {
      const c = vaeConfig(config, where);
      return vaeGraphs(buildVaeEncoder(c, small), buildVaeDecoder(c, latent));
    }
    case "AutoencoderTiny": {
      const c = vaeTinyConfig(config, where);
      return vaeGraphs(buildVaeTinyEncoder(c, small), buildVaeTinyDecoder(c, latent));
    }
    default: {
      const c = clipTextConfig(config, where);
      const { parameters, outputs } = buildClipText(c, { batch: 1, tokens: c.positions });
      return { parameters, outputs: Object.values(outputs) };
    }
  }
}

export interface Measured {
  readonly name: string;
  readonly className: string;
  readonly parameters: number;
  /** On disk; for a preset, what a float32 file takes. */
  readonly bytes: number;
  /** Element types on disk, most frequent first; "float32" for a preset. */
  readonly dtypes: readonly string[];
  /** Of one run: a text, a step without guidance, decoding one picture. */
  readonly flops: number;
  readonly graphParameters: Parameters;
}

export function measure(organ: Organ, work: Workload): Measured {
  const { parameters, outputs } = graphsOf(organ, work);
  const stored = [...(organ.store?.tensors.values() ?? [])];
  const counts = new Map<string, number>();
  for (const { dtype } of stored) counts.set(dtype, (counts.get(dtype) ?? 0) + 1);
  return {
    name: organ.name,
    className: organ.className,
    parameters: countParameters(parameters),
    bytes:
      stored.length === 0
        ? checkpointBytes(parameters, "float32")
        : stored.reduce((n, t) => n + t.byteLength, 0),
    dtypes:
      stored.length === 0 ? ["float32"] : [...counts].sort((a, b) => b[1] - a[1]).map(([dtype]) => dtype),
    flops: flopsOf(outputs),
    graphParameters: parameters,
  };
}
