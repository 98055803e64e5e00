/**
 * Numbers as features: sinusoids of timesteps, picture sizes and guidance scales.
 * They are computed here, not in the graph: WGSL's sine and cosine lose accuracy far from zero, and angles reach 1000 and more.
 */

/** Vaswani et al. 2017, arXiv:1706.03762, section 3.5; diffusers' `max_period`. */
const MAX_PERIOD = 10_000;

export interface SinusoidOptions {
  /** Cosines before sines. */
  readonly flipSinToCos: boolean;
  /** Taken off the number of frequencies when they are spaced: 0 for Stable Diffusion. */
  readonly freqShift: number;
}

/**
 * `values` [N] → [N, `dim`], row-major: sin and cos of value · 10000^(−i / (dim/2 − freqShift)), i < dim/2; an odd last column is 0.
 * The six size numbers of SDXL, N rows flattened, give [N·6, dim], which is [N, 6·dim].
 * Rounded to float32 where diffusers' `get_timestep_embedding` rounds: at 999 the angle's rounding alone moves a sine by 3e-5.
 */
export function timestepEmbedding(
  values: ArrayLike<number>,
  dim: number,
  o: SinusoidOptions,
): Float32Array<ArrayBuffer> {
  const half = Math.floor(dim / 2);
  const { fround } = Math;
  const frequencies = Array.from({ length: half }, (_, i) => {
    const exponent = fround(fround(-Math.log(MAX_PERIOD) * i) / fround(half - o.freqShift));
    return fround(Math.exp(exponent));
  });
  return sinusoids(values, dim, frequencies, o.flipSinToCos);
}

/**
 * Features of guidance scales for an LCM U-Net: `scales` [N], each the guidance less one, → [N, `dim`].
 * Source: diffusers' `get_guidance_scale_embedding`.
 */
export function guidanceEmbedding(scales: ArrayLike<number>, dim: number): Float32Array<ArrayBuffer> {
  const half = Math.floor(dim / 2);
  const { fround } = Math;
  const step = fround(fround(Math.log(MAX_PERIOD)) / (half - 1));
  const frequencies = Array.from({ length: half }, (_, i) => fround(Math.exp(fround(-step * i))));
  const thousands = Array.from(scales, (w) => fround(fround(w) * 1000));
  return sinusoids(thousands, dim, frequencies, false);
}

function sinusoids(
  values: ArrayLike<number>,
  dim: number,
  frequencies: readonly number[],
  cosFirst: boolean,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(values.length * dim);
  const [sinAt, cosAt] = cosFirst ? [frequencies.length, 0] : [0, frequencies.length];
  for (let n = 0; n < values.length; n++) {
    for (const [i, frequency] of frequencies.entries()) {
      const angle = Math.fround(Math.fround(values[n] ?? 0) * frequency);
      out[n * dim + sinAt + i] = Math.sin(angle);
      out[n * dim + cosAt + i] = Math.cos(angle);
    }
  }
  return out;
}
