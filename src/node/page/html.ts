/** Reports as HTML files that need no other: one look, text escaped, pictures inside. */

export const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] ?? c);

const style = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .2rem 1.2rem .2rem 0; text-align: left; border-bottom: 1px solid #eee; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
small, .note { color: #666; } svg { max-width: 100%; height: auto; }
figure { margin: 0 0 1rem; } img { max-width: 100%; } figcaption { color: #666; }
.row { display: flex; flex-wrap: wrap; gap: .75rem; } .row figure { margin: 0; } .row figcaption { font-size: .8rem; }
pre { background: #f5f5f5; padding: .75rem; overflow-x: auto; }`;

/** A page; `body` is HTML, `more` further rules of style. */
export const htmlPage = (title: string, body: string, more = ""): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${style}${more}</style>
<h1>${escaped(title)}</h1>
${body}
</html>
`;

/** A picture with its caption; `bytes` of a file of the given kind. */
export function figure(
  bytes: Uint8Array,
  caption: string,
  o: { readonly kind?: "png" | "webp"; readonly width?: number } = {},
): string {
  const data = Buffer.from(bytes).toString("base64");
  const width = o.width === undefined ? "" : ` width="${o.width}"`;
  return `<figure><img alt="${escaped(caption)}"${width} src="data:image/${o.kind ?? "png"};base64,${data}"><figcaption>${escaped(caption)}</figcaption></figure>`;
}

/** Rows of cells, the first of headings; columns in `numeric` are set to the right. */
export function htmlTable(rows: readonly (readonly string[])[], numeric: readonly number[] = []): string {
  const row = (cells: readonly string[], tag: string): string =>
    `<tr>${cells
      .map((cell, i) => `<${tag}${numeric.includes(i) ? ' class="n"' : ""}>${escaped(cell)}</${tag}>`)
      .join("")}</tr>`;
  const [head = [], ...rest] = rows;
  return `<div class="wide"><table>\n${[row(head, "th"), ...rest.map((cells) => row(cells, "td"))].join("\n")}\n</table></div>`;
}
