// The static site: the studio, the small model with its list of files, and the service worker that keeps them.
// `node scripts/site/build.js [folder]`; without a folder, site/.

import { createHash } from "node:crypto";
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vite";
import { listModel } from "./list-model.js";

const root = resolve(import.meta.dirname, "../..");

/** Not kept before it is asked for: the engine's build for graphics adapters, which most visits do without. */
const isLazy = (path) => path.includes("asyncify") || path.includes("webgpu");

/** Builds the site into `folder`. */
export async function buildSite(folder) {
  await build({
    configFile: join(root, "studio/vite.config.ts"),
    mode: "site",
    build: { outDir: folder, emptyOutDir: true },
  });
  const model = join(root, "models/koala-emoji");
  const list = await listModel(model);
  const target = join(folder, "models/koala-emoji");
  for (const { path } of list.files) await cp(join(model, path), join(target, path));
  await writeFile(join(target, "koala-files.json"), JSON.stringify(list));
  const models = [{ name: "./models/koala-emoji", title: "koala-emoji" }];
  await writeFile(join(folder, "site.json"), JSON.stringify({ models }));

  const assets = (await readdir(join(folder, "assets"))).map((name) => `assets/${name}`);
  const kept = ["./", "site.json", ...assets.filter((path) => !isLazy(path))];
  const version = createHash("sha256").update(kept.join()).digest("hex").slice(0, 12);
  const source = await readFile(join(root, "studio/sw.js"), "utf8");
  await writeFile(
    join(folder, "sw.js"),
    source.replace("__KEPT__", JSON.stringify(kept)).replace("__VERSION__", version),
  );
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = resolve(process.argv[2] ?? join(root, "site"));
  await rm(folder, { recursive: true, force: true });
  await buildSite(folder);
  console.log(`${folder} is a static site: any web server can offer it`);
}
