/** The processes of a job as objects of one process: their calls meet as MPI's do, and must be the same on each. */

import { type Communicator, single } from "../src/train/parallel.ts";

interface Call {
  readonly rank: number;
  readonly what: string;
  readonly arrays: readonly ArrayBufferView[];
  readonly root: number;
  done(): void;
  fail(error: Error): void;
}

const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** What the calls of all processes come to. */
function meet(calls: readonly Call[]): void {
  const [first] = calls as [Call];
  const names = new Set(calls.map(({ what, arrays }) => `${what} ${arrays.map((a) => a.byteLength)}`));
  if (names.size > 1) throw new Error(`processes that call different things: ${[...names].join("; ")}`);
  if (first.what === "sum")
    for (const [i, array] of first.arrays.entries()) {
      const all = calls.map(({ arrays }) => arrays[i] as Float32Array);
      const sum = Float32Array.from(array as Float32Array, (_, j) =>
        all.reduce((s, a) => s + (a[j] ?? 0), 0),
      );
      for (const one of all) one.set(sum);
    }
  if (first.what === "broadcast") {
    const from = calls.find(({ rank, root }) => rank === root) as Call;
    for (const { arrays } of calls)
      for (const [i, array] of arrays.entries()) bytes(array).set(bytes(from.arrays[i] as ArrayBufferView));
  }
}

/** `size` processes; an `abort` of one is thrown by it. */
export function fakeJob(size: number): Communicator[] {
  let waiting: Call[] = [];
  const call = (rank: number, what: string, arrays: readonly ArrayBufferView[], root = 0): Promise<void> =>
    new Promise((done, fail) => {
      waiting.push({ rank, what, arrays, root, done, fail });
      if (waiting.length < size) return;
      const calls = waiting;
      waiting = [];
      try {
        meet(calls);
        for (const one of calls) one.done();
      } catch (error) {
        for (const one of calls) one.fail(error as Error);
      }
    });
  return Array.from({ length: size }, (_, rank) => ({
    ...{ ...single, rank, size },
    allReduceSum: (arrays) => call(rank, "sum", arrays),
    broadcast: (arrays, root) => call(rank, "broadcast", arrays, root),
    barrier: () => call(rank, "barrier", []),
    finish: () => call(rank, "finish", []),
  }));
}
