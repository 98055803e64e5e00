/**
 * Gives memory back to the system that a library holds without need: pages of files that it has mapped and read once, which
 * are read again where they are touched again, and what the C library keeps of memory that was freed.
 */

import { readFileSync } from "node:fs";
import { type Koffi, loadKoffi } from "./koffi.ts";

/** `MADV_DONTNEED` of Linux's sys/mman.h. */
const DONT_NEED = 4;

/** While a library packs weights its own way, how often what it has read is given back. */
const EVERY_MS = 100;

/** One mapping, as `/proc/self/maps` has it. */
interface Mapping {
  readonly start: bigint;
  readonly length: bigint;
}

/** Whole-file mappings that cannot have been written to, of the files in `paths`. Source: proc_pid_maps(5). */
export function readOnlyMappings(maps: string, paths: ReadonlySet<string>): Mapping[] {
  return maps.split("\n").flatMap((line) => {
    const [, from, to, mode, path] = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(\/.*)$/.exec(line) ?? [];
    if (from === undefined || mode?.startsWith("r--") !== true || !paths.has(path ?? "")) return [];
    const start = BigInt(`0x${from}`);
    return [{ start, length: BigInt(`0x${to}`) - start }];
  });
}

function release(koffi: Koffi, paths: ReadonlySet<string>): void {
  const madvise = koffi.load(null).func("int madvise(uintptr_t address, size_t length, int advice)");
  const maps = readFileSync("/proc/self/maps", "utf8");
  for (const { start, length } of readOnlyMappings(maps, paths)) madvise(start, length, DONT_NEED);
}

/** Keeps the pages of these files from piling up while `work` goes on. On other systems than Linux it is just the work. */
export async function withoutPages<T>(paths: Iterable<string>, work: () => Promise<T>): Promise<T> {
  const files = new Set(paths);
  if (process.platform !== "linux" || files.size === 0) return work();
  const koffi = await loadKoffi();
  const timer = setInterval(() => release(koffi, files), EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    release(koffi, files);
  }
}

/** Gives back what was mapped of these files, and what has been freed. Where koffi or Linux is missing, nothing is. */
export async function giveBack(paths: Iterable<string> = []): Promise<void> {
  if (process.platform !== "linux") return;
  const koffi = await loadKoffi().catch(() => null);
  if (koffi === null) return;
  release(koffi, new Set(paths));
  try {
    koffi.load(null).func("int malloc_trim(size_t pad)")(0);
  } catch {
    // a C library other than glibc has no such function
  }
}
