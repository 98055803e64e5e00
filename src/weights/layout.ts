/**
 * The files of a model folder as diffusers lays it out: `model_index.json` names the components, each has a folder with
 * `config.json` and its weights, whole or in shards, plain or of a variant such as fp16.
 */

import { check } from "../core/assert.ts";
import { KoalaError } from "../core/errors.ts";
import { nearest } from "../core/nearest.ts";
import type { StoredTensor, TensorStore } from "../tensor/stored.ts";
import { normalizeNames } from "./dialects.ts";
import type { ModelFiles } from "./files.ts";
import { readJson } from "./json.ts";
import { parseRecipe, RECIPE_FILE } from "./recipe.ts";
import { openSafetensors } from "./safetensors.ts";
import { unionStore } from "./stores.ts";

export { maxJsonBytes, readJson } from "./json.ts";

export interface ModelIndex {
  /** The pipeline's class, `StableDiffusionXLPipeline`. */
  readonly className: string;
  /** Name → library and class of the components that are there; those set to null are left out. */
  readonly components: ReadonlyMap<string, { readonly library: string; readonly className: string }>;
  /** The other fields: `force_zeros_for_empty_prompt`. */
  readonly options: Readonly<Record<string, unknown>>;
}

export interface Component {
  /** The contents of its `config.json`. */
  readonly config: unknown;
  readonly store: TensorStore;
}

/** The names that diffusers and transformers save weights under. */
const weightNames = ["diffusion_pytorch_model", "model"];

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * What `model_index.json` says, or null where there is none: then the folder is one component, or holds single files.
 * @throws KoalaError E_CONFIG, E_FILE
 */
export async function readModelIndex(files: ModelFiles): Promise<ModelIndex | null> {
  if (!(await files.list()).includes("model_index.json")) return null;
  return parseModelIndex(await readJson(files, "model_index.json"), `${files.location}/model_index.json`);
}

/** @throws KoalaError E_CONFIG */
export function parseModelIndex(json: unknown, where: string): ModelIndex {
  check(isObject(json) && typeof json._class_name === "string", "E_CONFIG", () => ({
    where,
    expected: "an object with a _class_name",
    got: JSON.stringify(json).slice(0, 60),
  }));
  const components = new Map<string, { library: string; className: string }>();
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(json)) {
    if (name.startsWith("_")) continue;
    if (!Array.isArray(value)) options[name] = value;
    else if (typeof value[0] === "string" && typeof value[1] === "string") {
      components.set(name, { library: value[0], className: value[1] });
    }
  }
  return { className: json._class_name as string, components, options };
}

/** The weights of a component: files that hold all tensors together, or the index that says which file holds which. */
export type WeightFiles =
  | { readonly kind: "files"; readonly paths: readonly string[]; readonly variant: string | null }
  | { readonly kind: "index"; readonly path: string; readonly variant: string | null };

const join = (folder: string, name: string): string => (folder === "" ? name : `${folder}/${name}`);

/** The files directly in `folder` ("" is the root), by name. */
function namesIn(paths: readonly string[], folder: string): string[] {
  const prefix = folder === "" ? "" : `${folder}/`;
  return paths
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length))
    .filter((name) => !name.includes("/"));
}

/**
 * Which of `paths` are the weights in `folder`. `variant` asks for one (`fp16`), null for the plain files; undefined takes
 * the plain ones where they are, else fp16, else the only other variant.
 * @throws KoalaError E_MODEL that tells what there is instead
 */
export function findWeights(
  paths: readonly string[],
  folder: string,
  variant: string | null | undefined,
  where: string,
): WeightFiles {
  const names = namesIn(paths, folder);
  const found = new Map<string | null, WeightFiles>();
  for (const base of weightNames) {
    for (const name of names) {
      const single = variantIn(name, `${base}`, ".safetensors");
      const index =
        variantIn(name, `${base}.safetensors.index`, ".json") ??
        variantIn(name, base, ".safetensors.index.json");
      if (single !== undefined && found.get(single)?.kind !== "files") {
        found.set(single, { kind: "files", paths: [join(folder, name)], variant: single });
      } else if (index !== undefined && !found.has(index)) {
        found.set(index, { kind: "index", path: join(folder, name), variant: index });
      }
    }
  }
  const others = [...found.keys()].filter((key) => key !== null);
  const wanted = variant === undefined ? [null, "fp16", ...(others.length === 1 ? others : [])] : [variant];
  for (const choice of wanted) {
    const files = found.get(choice);
    if (files !== undefined) return files;
  }
  // one file under a name of its own: a U-Net put in another's place
  const own = names.filter((name) => name.endsWith(".safetensors"));
  if (found.size === 0 && own.length === 1 && variant == null) {
    return { kind: "files", paths: [join(folder, own[0] ?? "")], variant: null };
  }
  throw noWeights(names, [...found.keys()], variant, where);
}

/** What stands between `base` and `end` in `name`: null for nothing, "fp16" for ".fp16"; undefined when it is another name. */
function variantIn(name: string, base: string, end: string): string | null | undefined {
  if (!name.startsWith(base) || !name.endsWith(end)) return undefined;
  const middle = name.slice(base.length, name.length - end.length);
  return middle === "" ? null : /^\.[\w-]+$/.test(middle) ? middle.slice(1) : undefined;
}

function noWeights(
  names: string[],
  variants: (string | null)[],
  variant: string | null | undefined,
  where: string,
): KoalaError {
  if (variants.length > 0) {
    const there = variants.map((v) => v ?? "the plain one").join(", ");
    const asked =
      variant === null
        ? "plain weights"
        : variant === undefined
          ? "one variant"
          : `weights of the variant ${variant}`;
    return new KoalaError("E_MODEL", { where, expected: asked, got: `only ${there}` });
  }
  const pickles = names.filter((name) => /\.(bin|ckpt|pt|pth|msgpack|onnx|gguf)$/.test(name));
  const several = names.filter((name) => name.endsWith(".safetensors"));
  if (several.length > 0) {
    return new KoalaError("E_MODEL", {
      where,
      expected: "one safetensors file",
      got: `${several.length}: ${several.slice(0, 4).join(", ")}`,
      hint: "Give the path of the one to use.",
    });
  }
  return new KoalaError("E_MODEL", {
    where,
    expected: "weights in safetensors",
    got: pickles.length > 0 ? `only ${pickles.slice(0, 4).join(", ")}` : "none",
    ...(pickles.length > 0
      ? {
          hint: "Other formats are not read (a pickle can run code when it is opened): convert the weights to safetensors first.",
        }
      : {}),
  });
}

/**
 * All tensors of several safetensors files, such as the shards of one model.
 * @throws KoalaError E_FILE, E_SAFETENSORS, E_WEIGHTS
 */
export async function openStore(files: ModelFiles, paths: readonly string[]): Promise<TensorStore> {
  const stores: TensorStore[] = [];
  for (const path of paths) stores.push(await openSafetensors(files, path));
  return unionStore(stores, files.location);
}

/**
 * The tensors that an index names, each in the shard that the index says.
 * @throws KoalaError E_CONFIG, E_FILE, E_WEIGHTS
 */
async function openIndex(files: ModelFiles, path: string): Promise<TensorStore> {
  const where = `${files.location}/${path}`;
  const weightMap = parseShardIndex(await readJson(files, path), where);
  const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
  const all = new Set(await files.list());
  const shards = new Map<string, TensorStore>();
  for (const shard of new Set(weightMap.values())) {
    const shardPath = join(folder, shard);
    check(all.has(shardPath), "E_FILE", () => ({
      where,
      expected: `the shard ${shardPath}`,
      got: "no such file",
    }));
    shards.set(shard, await openSafetensors(files, shardPath));
  }
  const tensors = new Map<string, StoredTensor>();
  const owners = new Map<string, TensorStore>();
  for (const [name, shard] of weightMap) {
    const store = shards.get(shard);
    const stored = store?.tensors.get(name);
    check(store !== undefined && stored !== undefined, "E_WEIGHTS", () => ({
      where,
      expected: `${name} in ${shard}`,
      got: "no such tensor there",
    }));
    tensors.set(name, stored);
    owners.set(name, store);
  }
  return {
    tensors,
    read(name) {
      const owner = owners.get(name);
      check(owner !== undefined, "E_WEIGHTS", () => ({
        where,
        expected: `a tensor "${name}"`,
        got: "none of that name",
      }));
      return owner.read(name);
    },
  };
}

/**
 * Tensor name → file name, of a `*.safetensors.index.json`.
 * @throws KoalaError E_CONFIG
 */
export function parseShardIndex(json: unknown, where: string): ReadonlyMap<string, string> {
  const map = isObject(json) ? json.weight_map : undefined;
  check(isObject(map) && Object.values(map).every((file) => typeof file === "string"), "E_CONFIG", () => ({
    where,
    expected: "a weight_map of file names",
    got: JSON.stringify(map ?? null).slice(0, 60),
  }));
  return new Map(Object.entries(map) as [string, string][]);
}

/**
 * Config and weights of one component; "" is the folder itself. Names are those that most checkpoints of the kind use,
 * whichever version of the libraries wrote them.
 * @throws KoalaError E_MODEL when the component or its weights are missing, E_FILE, E_CONFIG, E_SAFETENSORS, E_WEIGHTS
 */
export async function openComponent(
  files: ModelFiles,
  component: string,
  o: { variant?: string | null } = {},
): Promise<Component> {
  const paths = await files.list();
  const where = component === "" ? files.location : `${files.location}/${component}`;
  check(namesIn(paths, component).length > 0, "E_MODEL", () => {
    const folders = [...new Set(paths.filter((p) => p.includes("/")).map((p) => p.slice(0, p.indexOf("/"))))];
    const near = nearest(component, folders)[0];
    return {
      where: files.location,
      expected: `a folder ${component} with config.json and weights`,
      got: folders.length === 0 ? "no folders" : `only ${folders.join(", ")}`,
      ...(near === undefined ? {} : { hint: `Did you mean ${near}?` }),
    };
  });
  const configPath = join(component, "config.json");
  check(paths.includes(configPath), "E_MODEL", () => ({ where, expected: "a config.json", got: "none" }));
  const weights = findWeights(paths, component, o.variant, where);
  const config = await readJson(files, configPath);
  const store =
    weights.kind === "files" ? await openStore(files, weights.paths) : await openIndex(files, weights.path);
  const named = normalizeNames(store, where);
  const recipePath = join(component, RECIPE_FILE);
  if (!paths.includes(recipePath)) return { config, store: named };
  const recipe = parseRecipe(await readJson(files, recipePath), `${files.location}/${recipePath}`);
  return { config, store: { ...named, recipe } };
}
