/** Programs by stage: one live program a stage, compiled for the size at hand, kept for the next call where memory allows. */

import type { Program } from "../engine/program.ts";

/** Holds at most one program and the key (sizes, batch) that it was compiled for. */
export class Stage {
  private current: { readonly key: string; readonly program: Program } | null = null;

  /** The program for `key`: the one held, or a new one after the old is freed. */
  async use(key: string, compile: () => Promise<Program>): Promise<Program> {
    if (this.current?.key === key) return this.current.program;
    await this.free();
    const program = await compile();
    this.current = { key, program };
    return program;
  }

  async free(): Promise<void> {
    const held = this.current;
    this.current = null;
    await held?.program.dispose();
  }
}
