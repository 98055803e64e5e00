/**
 * Other names under which the libraries' own checkpoints store a parameter.
 * Files of older and newer versions differ in these alone; other layouts are the business of `weights/`.
 */

/** transformers 5 writes a `CLIPTextModel` without the prefix that earlier versions gave it. */
const CLIP_PREFIX = "text_model.";

/** Attention of the VAE before diffusers 0.13: the new parts and the old ones, weight and bias alike. */
const OLD_ATTENTION: Readonly<Record<string, string>> = {
  to_q: "query",
  to_k: "key",
  to_v: "value",
  "to_out.0": "proj_attn",
};
const VAE_ATTENTION =
  /^((?:encoder|decoder)\.mid_block\.attentions\.0)\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)$/;

/** The names, most usual first, under which a checkpoint may hold the parameter `name`; the first is `name` itself. */
export function checkpointNames(name: string): readonly string[] {
  if (name.startsWith(CLIP_PREFIX)) return [name, name.slice(CLIP_PREFIX.length)];
  const match = VAE_ATTENTION.exec(name);
  if (match === null) return [name];
  const [, path, part, kind] = match as unknown as [string, string, string, string];
  return [name, `${path}.${OLD_ATTENTION[part]!}.${kind}`];
}
