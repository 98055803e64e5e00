/**
 * How much noise pictures of a side bear. Latents of 128 px say four times what those of 64 px say once, so the same noise hides less
 * of them. Their betas leave a quarter of the signal-to-noise ratio at every step: Hoogeboom et al. 2023, arXiv:2301.11093,
 * section 3.1. At 64 px they are SDXL's.
 *
 * @param {64 | 128} side in pixels
 */
export const betas = (side) =>
  side === 64 ? { beta_start: 0.00085, beta_end: 0.012 } : { beta_start: 0.0034, beta_end: 0.0108 };
