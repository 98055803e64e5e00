/** Which files of a hub repository a pipeline needs, and whether a folder has them all. */

import { KoalaError } from "../core/errors.ts";
import type { ModelFiles } from "../weights/files.ts";
import {
  findWeights,
  type ModelIndex,
  parseShardIndex,
  readJson,
  readModelIndex,
} from "../weights/layout.ts";
import { adapterConfigOf } from "../weights/lora-scale.ts";

/** Components that no picture needs here: the content filter, and what only picture prompts use. */
const unneeded: ReadonlySet<string> = new Set(["safety_checker", "feature_extractor", "image_encoder"]);

/** Whether a component of this class has weights beside its JSON files. */
const hasWeights = (className: string): boolean =>
  !/Scheduler$|Tokenizer|Processor$|Extractor$/.test(className);

/** Text files of a component; other frameworks' configs and the indices of shards are chosen with the weights. */
const isText = (name: string): boolean =>
  /\.(json|txt|model)$/.test(name) &&
  !/\.index(\.[\w-]+)?\.json$/.test(name) &&
  !/^(flax|tf|openvino)_/.test(name);

const shardMark = /-\d{5}-of-\d{5}/;

/** The components that are fetched, with the classes that `model_index.json` names. */
function componentsOf(index: ModelIndex): [string, string][] {
  return [...index.components]
    .filter(([name]) => !unneeded.has(name))
    .map(([name, { className }]) => [name, className]);
}

/** The weights in a folder; `variant` undefined prefers fp16, half the bytes of the plain ones. */
function chooseWeights(
  paths: readonly string[],
  folder: string,
  variant: string | null | undefined,
  where: string,
): string[] {
  let chosen = findWeights(paths, folder, variant, where);
  if (variant === undefined && chosen.variant === null) {
    try {
      chosen = findWeights(paths, folder, "fp16", where);
    } catch (error) {
      if (!(error instanceof KoalaError)) throw error;
    }
  }
  if (chosen.kind === "files") return [...chosen.paths];
  const prefix = folder === "" ? "" : `${folder}/`;
  const whole = chosen.variant === null ? ".safetensors" : `.${chosen.variant}.safetensors`;
  const shards = paths.filter((path) => {
    if (!path.startsWith(prefix) || !shardMark.test(path)) return false;
    return (
      /^[a-z_]+$/.test(path.slice(prefix.length).replace(shardMark, "").slice(0, -whole.length)) &&
      path.replace(shardMark, "").endsWith(whole)
    );
  });
  return [chosen.path, ...shards];
}

/** Whether the weights of a component are asked for: `weightsOf` names those that are, undefined all. */
const isAsked = (name: string, className: string, weightsOf: readonly string[] | undefined): boolean =>
  hasWeights(className) && weightsOf?.includes(name) !== false;

/**
 * The files to fetch out of `paths`, all that the repository has. `index` is its `model_index.json`, null where it has
 * none: then it is one component, or a single checkpoint file. Of components that are not in `weightsOf` their small files.
 * @throws KoalaError E_MODEL when there is no model in a form that can be read
 */
export function selectFiles(
  paths: readonly string[],
  index: ModelIndex | null,
  o: { variant?: string | null; weightsOf?: readonly string[]; where: string },
): string[] {
  if (index === null) return selectWithoutIndex(paths, o);
  const chosen = ["model_index.json"];
  for (const [name, className] of componentsOf(index)) {
    const folder = `${name}/`;
    chosen.push(...paths.filter((path) => path.startsWith(folder) && isText(path.slice(folder.length))));
    if (isAsked(name, className, o.weightsOf))
      chosen.push(...chooseWeights(paths, name, o.variant, `${o.where}/${name}`));
  }
  return chosen;
}

/** The config that PEFT keeps beside an adapter's weights, which says their scale; [] for other files. */
export function besideAdapter(paths: readonly string[], path: string): string[] {
  const config = adapterConfigOf(path);
  return config !== null && paths.includes(config) ? [config] : [];
}

function selectWithoutIndex(
  paths: readonly string[],
  o: { variant?: string | null; where: string },
): string[] {
  const root = paths.filter((path) => !path.includes("/"));
  if (root.includes("config.json"))
    return [...root.filter(isText), ...chooseWeights(root, "", o.variant, o.where)];
  const single = paths.filter((path) => path.endsWith(".safetensors"));
  if (single.length === 1) return [...single, ...single.flatMap((path) => besideAdapter(paths, path))];
  throw new KoalaError("E_MODEL", {
    where: o.where,
    expected: "a diffusers pipeline (model_index.json), a component (config.json) or one .safetensors file",
    got: single.length === 0 ? "none of them" : `${single.length} .safetensors files`,
    hint:
      single.length === 0
        ? "Formats that can run code when opened (.ckpt, .bin) are not read."
        : `Name one: ${single
            .slice(0, 3)
            .map((path) => `${o.where}/${path}`)
            .join(", ")}`,
  });
}

/**
 * What a folder lacks to be used as a model, in words; null when nothing is missing. A network that is not in `weightsOf`
 * need not be there at all.
 * @throws KoalaError E_FILE, E_CONFIG
 */
export async function missingPart(files: ModelFiles, weightsOf?: readonly string[]): Promise<string | null> {
  const paths = await files.list();
  const index = await readModelIndex(files);
  if (index === null) {
    if (!paths.includes("config.json"))
      return paths.some((path) => path.endsWith(".safetensors")) ? null : "weights";
    return missingWeights(files, paths, "");
  }
  for (const [name, className] of componentsOf(index)) {
    const isNetwork = hasWeights(className);
    if (isNetwork && !isAsked(name, className, weightsOf)) continue;
    if (!paths.some((path) => path.startsWith(`${name}/`))) return name;
    if (!isNetwork) continue;
    const missing = paths.includes(`${name}/config.json`)
      ? await missingWeights(files, paths, name)
      : `${name}/config.json`;
    if (missing !== null) return missing;
  }
  return null;
}

async function missingWeights(
  files: ModelFiles,
  paths: readonly string[],
  folder: string,
): Promise<string | null> {
  let chosen: ReturnType<typeof findWeights>;
  try {
    chosen = findWeights(paths, folder, undefined, folder);
  } catch {
    return folder === "" ? "weights" : `the weights of ${folder}`;
  }
  if (chosen.kind === "files") return null;
  const prefix = folder === "" ? "" : `${folder}/`;
  const shards = parseShardIndex(await readJson(files, chosen.path), `${files.location}/${chosen.path}`);
  return (
    [...new Set(shards.values())].map((shard) => prefix + shard).find((path) => !paths.includes(path)) ?? null
  );
}
