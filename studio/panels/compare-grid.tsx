/** The pictures of a comparison as a table, each with what it took. */

import type { Drawing, Shown } from "../engines.ts";
import { PictureView } from "./picture.tsx";

export interface Cell {
  readonly column: string;
  readonly row: string;
  /** A preview, until it is drawn. */
  readonly shown: Shown | null;
  readonly drawing: Drawing | null;
}

/** What was drawn, or is being drawn: the form may say something else by now. */
export interface Comparison {
  /** What the columns are values of; null for the steps of one picture. */
  readonly across: string | null;
  /** What the rows are values of; null where there is one. */
  readonly down: string | null;
  readonly cells: readonly Cell[];
}

const labelOf = (column: string, row: string): string => `${column} ${row}`.trim();

function costOf({ seconds, bytes }: Drawing): string {
  if (seconds === null) return " ";
  return `${seconds.toFixed(1)} s${bytes === null ? "" : ` · ${(bytes / 1e9).toFixed(2)} GB`}`;
}

interface GridProps extends Comparison {
  /** Shows a picture of it on its own. */
  open(drawing: Drawing): void;
}

export function CompareGrid({ across, down, cells, open }: GridProps) {
  const columns = [...new Set(cells.map(({ column }) => column))];
  const rows = [...new Set(cells.map(({ row }) => row))];
  const name =
    across === null ? "Steps of one picture" : `Pictures by ${across}${down ? ` and ${down}` : ""}`;
  return (
    <section class="card scroll" aria-label={name}>
      <table class={across === null ? "grid strip" : "grid"}>
        <thead>
          <tr>
            {down !== null && (
              <th scope="col" class="corner">
                {across} →<br />
                {down} ↓
              </th>
            )}
            {columns.map((column) => (
              <th scope="col" key={column}>
                {across === null || down !== null ? column : `${across} ${column}`}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row}>
              {down !== null && <th scope="row">{row}</th>}
              {cells
                .filter((cell) => cell.row === row)
                .map(({ column, shown, drawing }) => (
                  <td key={column}>
                    {drawing === null ? (
                      <div class="cell">
                        {shown !== null && <PictureView shown={shown} label={labelOf(column, row)} />}
                      </div>
                    ) : (
                      <button
                        type="button"
                        class="cell"
                        title="Show it in Draw"
                        onClick={() => open(drawing)}
                      >
                        <PictureView shown={drawing} label={labelOf(column, row)} />
                      </button>
                    )}
                    <span class="seconds">{drawing === null ? " " : costOf(drawing)}</span>
                  </td>
                ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
