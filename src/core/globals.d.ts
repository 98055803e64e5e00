/** The few globals beyond the language that the core uses: the same in Node and in browsers. */

interface AbortSignal {
  readonly aborted: boolean;
  /** @throws the reason of the abort */
  throwIfAborted(): void;
  addEventListener(type: "abort", listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

declare const performance: {
  /** Milliseconds since the process or page began. */
  now(): number;
};

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(label?: string, o?: { fatal?: boolean });
  /** @throws TypeError where the bytes are not of that encoding */
  decode(bytes: Uint8Array): string;
}
