/**
 * What the engine holds in this worker: the linear memories of its WebAssembly, which grow and never shrink. The module keeps
 * them to itself, so they are noted as they are made; nothing about them changes.
 */

const memories: WebAssembly.Memory[] = [];

/** From here on. Call it before the engine loads. */
export function watchMemories(): void {
  WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
    construct(target, argv: [WebAssembly.MemoryDescriptor]) {
      const made = new target(...argv);
      memories.push(made);
      return made;
    },
  });
}

/** Bytes. Of a graphics adapter's own memory nothing is known. */
export const engineBytes = (): number => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
