/**
 * UTF-8 to and from strings. Every JavaScript host has these two classes, but the language's own library
 * of types does not, and this folder may assume no host: so their types are said here.
 */

interface Utf8Classes {
  readonly TextEncoder: new () => { encode(text: string): Uint8Array<ArrayBuffer> };
  readonly TextDecoder: new (label: string, o: { fatal: boolean }) => { decode(bytes: Uint8Array): string };
}

const host = globalThis as unknown as Utf8Classes;

export const encodeUtf8 = (text: string): Uint8Array<ArrayBuffer> => new host.TextEncoder().encode(text);

/** The text, or null where the bytes are not UTF-8. A byte order mark at the start is dropped. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new host.TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}
