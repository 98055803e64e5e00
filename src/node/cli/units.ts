/** Numbers as people read them. */

/** "0.42 s", "12.3 s", "3 min 5 s", "1 h 2 min". */
export function seconds(s: number): string {
  if (s < 1) return `${s.toFixed(2)} s`;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Time left, which nobody needs to a tenth: "8 s", "3 min". */
export function roughSeconds(s: number): string {
  if (s < 100) return `${Math.max(1, Math.ceil(s))} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

/** Decimal units, as disks and hubs count: "612 MB", "4.64 GB". */
export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  const steps = ["kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(n) / 3), steps.length);
  return `${(n / 1000 ** power).toPrecision(3)} ${steps[power - 1]}`;
}

/** "782,822,724". */
export const grouped = (n: number): string => n.toLocaleString("en-US");

/** "1.37 GFLOP"; a multiplication with its addition counts as two. */
export function flops(n: number): string {
  if (n < 1e6) return `${grouped(n)} FLOP`;
  const steps = ["MFLOP", "GFLOP", "TFLOP", "PFLOP"];
  const power = Math.min(Math.floor(Math.log10(n) / 3) - 1, steps.length);
  return `${(n / 1000 ** (power + 1)).toPrecision(3)} ${steps[power - 1]}`;
}
