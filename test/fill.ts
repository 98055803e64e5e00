/**
 * Deterministic tensors from nothing but a name and a shape, so that goldens need no stored weights or inputs.
 * The rule, with its constants, is written out in scripts/oracle/fill.py; the two agree bit for bit.
 */

/** FNV-1a of 32 bits over the UTF-8 bytes (Fowler, Noll, Vo; draft-eastlake-fnv). */
function fnv1a(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193);
  return h;
}

/** The 32-bit finaliser of MurmurHash3 (Appleby, fmix32). */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function baseAndScale(name: string, shape: readonly number[]): readonly [base: number, scale: number] {
  if (name.startsWith("input.")) return [0, 1];
  if (name.endsWith("_embedding.weight")) return [0, 0.5];
  if (shape.length === 1 && name.endsWith(".weight")) return [1, 0.1];
  if (shape.length <= 1) return [0, 0.05];
  return [0, Math.sqrt(3 / shape.slice(1).reduce((a, b) => a * b, 1))];
}

/**
 * Elements, row-major, of the tensor called `name`: weights by their checkpoint name (text encoders with the
 * prefix `text_model.`), inputs in [-1, 1) by a name that starts with `input.`.
 */
export function fill(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1));
  const seed = fnv1a(name);
  const [base, scale] = baseAndScale(name, shape);
  for (let i = 0; i < out.length; i++) {
    const k = mix(seed ^ mix((i + 0x9e3779b9) | 0)) >>> 8;
    out[i] = base + scale * ((k - 2 ** 23) / 2 ** 23);
  }
  return out;
}
