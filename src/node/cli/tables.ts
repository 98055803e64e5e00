/** Text for terminals: in columns, made harmless; and the published table of U-Nets that ours stands beside. */

/** Text from outside without the control characters that could steer a terminal; line ends stay. */
export const printable = (text: string): string => text.replace(/(?!\n)\p{Cc}/gu, "\ufffd");

/** Rows with their columns lined up two spaces apart; those in `right` are flush right. Ends with a newline. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, c) =>
    Math.max(...rows.map((row) => (row[c] ?? "").length)),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, c) => (right.includes(c) ? cell.padStart(widths[c] ?? 0) : cell.padEnd(widths[c] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

export interface PaperModel {
  /** Our name of it. */
  readonly preset: "sd2" | "sdxl" | "koala-1b" | "koala-700m";
  /** The table's. */
  readonly name: string;
  readonly parameters: string;
  readonly bytes: string;
  readonly blocks: string;
}

/** KOALA (arXiv:2312.04005), Table 1, as published in https://huggingface.co/etri-vilab/koala-700m at 9dccd3b. */
export const paperModels: readonly PaperModel[] = [
  { preset: "sd2", name: "SDM-v2.0", parameters: "865M", bytes: "3.46GB", blocks: "[1, 1, 1, 1]" },
  { preset: "sdxl", name: "SDXL-Base-1.0", parameters: "2,567M", bytes: "10.3GB", blocks: "[0, 2, 10]" },
  { preset: "koala-1b", name: "KOALA-1B", parameters: "1,161M", bytes: "4.4GB", blocks: "[0, 2, 6]" },
  { preset: "koala-700m", name: "KOALA-700M", parameters: "782M", bytes: "3.0GB", blocks: "[0, 2, 5]" },
];
