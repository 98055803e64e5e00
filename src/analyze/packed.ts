/** Objects with arrays of numbers in them as bytes: a head of JSON, whose arrays lie behind it. For `Exploration` over HTTP. */

import { check } from "../core/assert.ts";

const kinds = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array } as const;
type Kind = keyof typeof kinds;

/** In the place of an array: its elements, and where its bytes begin. */
interface Place {
  readonly $array: readonly [kind: Kind, length: number, start: number];
}

/** Arrays begin where elements of eight bytes may. */
const align = (bytes: number): number => 8 * Math.ceil(bytes / 8);

/** `value` is what JSON can say, and arrays of float32, float64 and bytes. */
export function pack(value: unknown): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  const placed = (found: unknown): unknown => {
    if (!ArrayBuffer.isView(found))
      return Array.isArray(found)
        ? found.map(placed)
        : typeof found === "object" && found !== null
          ? Object.fromEntries(Object.entries(found).map(([key, its]) => [key, placed(its)]))
          : found;
    const kind = (Object.keys(kinds) as Kind[]).find((name) => found instanceof kinds[name]);
    check(kind !== undefined, "E_INTERNAL", () => ({
      where: "pack",
      expected: `an array of ${Object.keys(kinds).join(", ")}`,
      got: found.constructor.name,
    }));
    const bytes = new Uint8Array(found.buffer, found.byteOffset, found.byteLength);
    const place: Place = { $array: [kind, found.byteLength / kinds[kind].BYTES_PER_ELEMENT, length] };
    pieces.push(bytes);
    length += align(bytes.length);
    return place;
  };
  const head = new TextEncoder().encode(JSON.stringify(placed(value)));
  const start = align(4 + head.length);
  const out = new Uint8Array(start + length);
  new DataView(out.buffer).setUint32(0, head.length);
  out.set(head, 4);
  let at = start;
  for (const bytes of pieces) {
    out.set(bytes, at);
    at += align(bytes.length);
  }
  return out;
}

/** What `pack` was given. The arrays lie in `bytes`. */
export function unpack(bytes: Uint8Array<ArrayBuffer>): unknown {
  const whole = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const length = new DataView(whole.buffer, whole.byteOffset).getUint32(0);
  const start = whole.byteOffset + align(4 + length);
  const head = new TextDecoder().decode(whole.subarray(4, 4 + length));
  return JSON.parse(head, (_, value: unknown) => {
    const place = (value as Partial<Place> | null)?.$array;
    if (place === undefined) return value;
    const [kind, count, at] = place;
    return new kinds[kind](whole.buffer, start + at, count);
  });
}
