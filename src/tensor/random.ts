/**
 * Seeded random numbers: `TorchGenerator` repeats `torch.Generator("cpu")` draw by draw, so that a seed means the
 * same picture here and there; `FastGenerator` fills fresh weights, billions of them, and repeats only itself.
 *
 * Sources: Matsumoto and Nishimura 1998 (MT19937); ATen's `DistributionTemplates.h` and `DistributionsHelper.h`
 * for how PyTorch turns draws into values; Blackman and Vigna 2021, arXiv:1805.01407 (xoshiro128++).
 */

import { check } from "../core/assert.ts";

const stateSize = 624;
const stateShift = 397;
/** `normal_fill` of ATen works in blocks of 16; a shorter request takes another path. */
const block = 16;

/** @throws KoalaError E_REQUEST unless `seed` is a whole number from 0 to 2⁵³ − 1 */
function checkSeed(seed: number): void {
  check(Number.isSafeInteger(seed) && seed >= 0, "E_REQUEST", () => ({
    where: "seed",
    expected: `a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
    got: `${seed}`,
  }));
}

/**
 * The stream of `torch.Generator("cpu").manual_seed(seed)`: one call after another continues it, as in PyTorch.
 * The integers are the same; values differ by less than 4e-6, because PyTorch's vectorised log, sin and cos are
 * approximate (measured 1.2e-6) and ours are float64 rounded to float32.
 */
export class TorchGenerator {
  readonly #state = new Uint32Array(stateSize);
  #next = stateSize;
  /** The second normal of the last pair of the short path; the long path neither uses nor clears it. */
  #spare: number | null = null;

  /** PyTorch seeds with the low 32 bits. @throws KoalaError E_REQUEST */
  constructor(seed: number) {
    checkSeed(seed);
    const state = this.#state;
    let word = (seed % 2 ** 32) >>> 0;
    state[0] = word;
    for (let i = 1; i < stateSize; i++) {
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + i) >>> 0;
      state[i] = word;
    }
  }

  /** The next 32 bits, as an unsigned number. */
  bits(): number {
    if (this.#next === stateSize) this.#refill();
    let y = this.#state[this.#next++] ?? 0;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** `torch.rand(n)` in [0, 1): 24 bits of one draw each. */
  rand(n: number): Float32Array<ArrayBuffer> {
    const out = new Float32Array(n);
    for (let i = 0; i < n; i++) out[i] = (this.bits() & 0xffffff) * 2 ** -24;
    return out;
  }

  /** `torch.randn` of `n` values, whatever their shape. */
  randn(n: number): Float32Array<ArrayBuffer> {
    const out = new Float32Array(n);
    if (n < block) {
      for (let i = 0; i < n; i++) out[i] = this.#normal();
      return out;
    }
    // every value gets its uniform first: the stream advances by n, then by 16 more for a ragged end
    for (let i = 0; i < n; i++) out[i] = (this.bits() & 0xffffff) * 2 ** -24;
    for (let start = 0; start + block <= n; start += block) toNormals(out, start);
    if (n % block !== 0) {
      for (let i = n - block; i < n; i++) out[i] = (this.bits() & 0xffffff) * 2 ** -24;
      toNormals(out, n - block);
    }
    return out;
  }

  /** One value of the short path: pairs of 53-bit uniforms, the second normal kept for the next call. */
  #normal(): number {
    if (this.#spare !== null) {
      const value = this.#spare;
      this.#spare = null;
      return value;
    }
    const u = this.#uniform53();
    const v = this.#uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-v));
    this.#spare = radius * Math.sin(2 * Math.PI * u);
    return radius * Math.cos(2 * Math.PI * u);
  }

  #uniform53(): number {
    const high = this.bits() & 0x1fffff; // 64 bits, the first draw on top, modulo 2^53
    return (high * 2 ** 32 + this.bits()) * 2 ** -53;
  }

  #refill(): void {
    const s = this.#state;
    for (let i = 0; i < stateSize; i++) {
      const y = ((s[i] ?? 0) & 0x80000000) | ((s[(i + 1) % stateSize] ?? 0) & 0x7fffffff);
      s[i] = (s[(i + stateShift) % stateSize] ?? 0) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/** Sixteen uniforms from `start` on become normals in place: Box and Muller on the halves (`normal_fill_16`). */
function toNormals(values: Float32Array, start: number): void {
  for (let j = start; j < start + block / 2; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - (values[j] ?? 0)));
    const angle = 2 * Math.PI * (values[j + block / 2] ?? 0);
    values[j] = radius * Math.cos(angle);
    values[j + block / 2] = radius * Math.sin(angle);
  }
}

/**
 * Normals for a batch, `each` values from every generator in turn: what diffusers draws from a list of
 * generators, one a picture, so that a picture does not depend on its neighbours.
 */
export function randnBatch(generators: readonly TorchGenerator[], each: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(generators.length * each);
  for (const [i, generator] of generators.entries()) out.set(generator.randn(each), i * each);
  return out;
}

/**
 * xoshiro128++, for weights: some nanoseconds a value. Any length may be filled in pieces, as long as every piece
 * of `normal` but the last is even.
 */
export class FastGenerator {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** `state` is four 32-bit words, not all 0. */
  constructor(state: readonly [number, number, number, number]) {
    [this.#a, this.#b, this.#c, this.#d] = state;
  }

  /** Fills `out` with uniforms in [low, high), 24 bits each. */
  uniform(out: Float32Array, low: number, high: number): void {
    let [a, b, c, d] = [this.#a, this.#b, this.#c, this.#d];
    const scale = (high - low) * 2 ** -24;
    for (let i = 0; i < out.length; i++) {
      const sum = (a + d) | 0;
      const result = (((sum << 7) | (sum >>> 25)) + a) | 0;
      out[i] = low + (result >>> 8) * scale;
      const t = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= t;
      d = (d << 11) | (d >>> 21);
    }
    [this.#a, this.#b, this.#c, this.#d] = [a, b, c, d];
  }

  /** Fills `out` with normals of mean 0; an odd length drops the last of its pairs. */
  normal(out: Float32Array, std: number): void {
    this.uniform(out, 0, 1);
    const rest = new Float32Array(out.length % 2);
    this.uniform(rest, 0, 1);
    for (let i = 0; i < out.length; i += 2) {
      const radius = std * Math.sqrt(-2 * Math.log(1 - (out[i] ?? 0)));
      const angle = 2 * Math.PI * (out[i + 1] ?? rest[0] ?? 0);
      out[i] = radius * Math.cos(angle);
      if (i + 1 < out.length) out[i + 1] = radius * Math.sin(angle);
    }
  }
}

/**
 * A sequence of its own for every pair of seed and name, so that the tensors of a model may be filled in any order.
 * @throws KoalaError E_REQUEST
 */
export function fastGenerator(seed: number, name: string): FastGenerator {
  checkSeed(seed);
  let hash = fnv1a(name, 0x811c9dc5 ^ (seed % 2 ** 32) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1));
  const word = (): number => {
    hash = (hash + 0x9e3779b9) | 0; // 2³² over the golden ratio, the stride of SplitMix
    return mix(hash);
  };
  return new FastGenerator([word(), word(), word(), word() | 1]); // never all zero
}

/** FNV-1a over UTF-16 units: enough to tell tensor names apart before `mix` scatters the bits. */
function fnv1a(text: string, basis: number): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

/** MurmurHash3's finaliser. */
function mix(x: number): number {
  let h = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
