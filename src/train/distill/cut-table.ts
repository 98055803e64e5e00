/** What a cut did, as rows for people: one a ResNet, transformer or sampler, grouped by block. */

import { size } from "../../tensor/shape.ts";
import type { Cut } from "./cut.ts";
import { originOf } from "./plan.ts";

export interface CutRow {
  /** The student's part: `up_blocks.0.attentions.1`. */
  readonly student: string;
  /** The teacher's part that its weights come from. */
  readonly teacher: string;
  /** The teacher's transformer blocks that it has, in its own order; [] where it has none. */
  readonly blocks: readonly number[];
  readonly parameters: number;
}

/** `down_blocks.0.resnets.0`, `mid_block.attentions.0`, `transformer_blocks.3`, or what a name outside them begins with. */
const partOf = (name: string): string =>
  /^(?:(?:(?:down|up)_blocks\.\d+|mid_block)\.\w+|transformer_blocks)\.\d+/.exec(name)?.[0] ??
  (name.split(".")[0] as string);

const blockOf = (name: string): string | undefined => /^(.*)\.transformer_blocks\.(\d+)\./.exec(name)?.[2];

/** In the order of the network. */
export function cutRows({ plan, parameters, sources }: Cut): CutRow[] {
  const rows = new Map<string, { blocks: Set<number>; parameters: number }>();
  for (const [name, { value }] of parameters) {
    const part = partOf(name);
    const row = rows.get(part) ?? { blocks: new Set(), parameters: 0 };
    const block = blockOf(sources.get(name) ?? "");
    if (block !== undefined) row.blocks.add(Number(block));
    row.parameters += size(value.shape);
    rows.set(part, row);
  }
  return [...rows].map(([student, { blocks, parameters: count }]) => ({
    student,
    teacher: originOf(plan, student),
    blocks: [...blocks],
    parameters: count,
  }));
}

/** Whole numbers with their runs joined: 0-4; 0, 2, 5-7. */
export function runs(numbers: readonly number[]): string {
  const found: [first: number, last: number][] = [];
  for (const n of numbers) {
    const run = found.at(-1);
    if (run !== undefined && n === run[1] + 1) run[1] = n;
    else found.push([n, n]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}
