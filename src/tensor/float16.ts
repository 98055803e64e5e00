/** IEEE 754 binary16 and bfloat16 as bits, to and from numbers; rounding is to nearest, ties to even. */

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let table: Float32Array<ArrayBuffer> | undefined;

/** The number of each of the 65,536 bit patterns, made when first asked for: to look many up, not to compute them. */
export function float16Numbers(): Float32Array<ArrayBuffer> {
  table ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => float16ToNumber(bits));
  return table;
}

export function numberToFloat16(value: number): number {
  scratchF32[0] = value;
  const f = scratchU32[0] ?? 0;
  const sign = (f >>> 16) & 0x8000;
  const magnitude = f & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds past 65504, the largest half
  if (magnitude < 0x38800000) {
    // below 2^-14: subnormal in units of 2^-24, which adding 2^-1·2^24-style magic would round; do it in doubles
    const units = Math.abs(scratchF32[0] ?? 0) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

export function bfloat16ToNumber(bits: number): number {
  scratchU32[0] = bits << 16;
  return scratchF32[0] ?? 0;
}

export function numberToBfloat16(value: number): number {
  scratchF32[0] = value;
  const f = scratchU32[0] ?? 0;
  if ((f & 0x7fffffff) > 0x7f800000) return ((f >>> 16) | 0x40) & 0xffff; // keep NaN a NaN
  return (f + 0x7fff + ((f >>> 16) & 1)) >>> 16;
}
