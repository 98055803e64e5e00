/** Charts as SVG, from vega-lite's specifications; the libraries load only here. */

/** A vega-lite specification without what all charts here share. */
export type Spec = Readonly<Record<string, unknown>>;

export async function svgOf(spec: Spec): Promise<string> {
  const [vega, { compile }] = await Promise.all([import("vega"), import("vega-lite")]);
  const whole = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    config: { font: "sans-serif", view: { stroke: "#ddd" } },
    ...spec,
  };
  const compiled = compile(whole as unknown as Parameters<typeof compile>[0], {
    logger: vega.logger(vega.None),
  });
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none", logLevel: vega.None });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
