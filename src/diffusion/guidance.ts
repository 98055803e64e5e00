/**
 * Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) and its rescaling against overexposure
 * (Lin et al. 2023, arXiv:2305.08891, section 3.4).
 */

/** `unconditional + scale · (conditional − unconditional)`; equal arrays, any shape. */
export function guide(
  unconditional: Float32Array,
  conditional: Float32Array,
  scale: number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(conditional.length);
  for (let i = 0; i < out.length; i++) {
    const u = unconditional[i] ?? 0;
    out[i] = u + scale * ((conditional[i] ?? 0) - u);
  }
  return out;
}

/**
 * `guided` with each picture's standard deviation brought back to that of `conditional`, mixed with itself:
 * `rescale` 0 changes nothing, 1 rescales fully. Both arrays are [N, …] with N = `pictures`.
 */
export function rescaleGuidance(
  guided: Float32Array,
  conditional: Float32Array,
  rescale: number,
  pictures: number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(guided.length);
  const each = guided.length / pictures;
  for (let start = 0; start < guided.length; start += each) {
    const part = guided.subarray(start, start + each);
    const ratio = deviation(conditional.subarray(start, start + each)) / deviation(part);
    const factor = rescale * ratio + (1 - rescale);
    for (let i = 0; i < each; i++) out[start + i] = factor * (part[i] ?? 0);
  }
  return out;
}

/** The sample standard deviation (n − 1), as `torch.std` has it. */
function deviation(values: Float32Array): number {
  let sum = 0;
  for (const v of values) sum += v;
  const mean = sum / values.length;
  let squares = 0;
  for (const v of values) squares += (v - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}
