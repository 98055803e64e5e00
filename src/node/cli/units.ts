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
  if (s < minutesFrom) return `${Math.max(1, Math.ceil(s))} s`;
  return s < hoursFrom ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

/** Seconds from which it says minutes, and hours. */
const minutesFrom = 100;
const hoursFrom = 5400;

/** Seconds up to the next that `roughSeconds` can say: what is asked for in its words must do. */
export function roughlyUp(s: number): number {
  const unit = s < minutesFrom ? 1 : s < hoursFrom ? 60 : 360;
  return unit * Math.ceil(s / unit);
}

/** `n` to three digits in the largest of `units`, each 1000 times the one before, that leaves 1 or more. */
function scaled(n: number, units: readonly string[]): string {
  let value = n;
  let power = 0;
  while (Number(value.toPrecision(3)) >= 1000 && power < units.length - 1) {
    value /= 1000;
    power++;
  }
  const digits = power === 0 || value >= 1000 ? String(Math.round(value)) : value.toPrecision(3);
  return `${digits} ${units[power]}`;
}

/** Decimal units, as disks and hubs count: "612 MB", "4.64 GB". */
export const bytes = (n: number): string => scaled(n, ["B", "kB", "MB", "GB", "TB"]);

/** "782,822,724". */
export const grouped = (n: number): string => n.toLocaleString("en-US");

/** "1.37 GFLOP"; a multiplication with its addition counts as two. */
export const flops = (n: number): string => scaled(n, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"]);
