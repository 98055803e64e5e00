// The static site: the studio, the small model with its list of files, and the service worker that keeps them.
// `node scripts/site/build.js [folder] [--model DIR]…`; without a folder, site/. Each --model puts another one on the site.

import { createHash } from "node:crypto";
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { build } from "vite";
import { listModel } from "./list-model.js";

const root = resolve(import.meta.dirname, "../..");

/** Not kept before it is asked for: the engine's build for graphics adapters, which most visits do without. */
const isLazy = (path) => path.includes("asyncify") || path.includes("webgpu");

/** What every browser and host takes as one file. */
const largestFile = 2 ** 31;

/** Copies a model's folder with its list of files. */
async function addModel(folder, model, name) {
  const list = await listModel(model);
  const large = list.files.find(({ size }) => size >= largestFile);
  if (large !== undefined)
    throw new Error(
      `${model}/${large.path}: expected a file below 2 GiB, got ${large.size} bytes\nkoala quantize makes it smaller; diffusers' save_pretrained(max_shard_size="1GB") splits it.`,
    );
  const target = join(folder, "models", name);
  for (const { path } of list.files) await cp(join(model, path), join(target, path));
  await writeFile(join(target, "koala-files.json"), JSON.stringify(list));
}

/** Builds the site into `folder`, with koala-emoji and the model folders `others`. */
export async function buildSite(folder, others = []) {
  process.env.NODE_ENV = "production"; // a test runner's own would bring the packages' development builds
  await build({
    configFile: join(root, "studio/vite.config.ts"),
    mode: "site",
    build: { outDir: folder, emptyOutDir: true },
  });
  const offered = [join(root, "models/koala-emoji"), ...others.map((other) => resolve(other))];
  for (const model of offered) await addModel(folder, model, basename(model));
  const models = offered.map((model) => ({
    name: `./models/${encodeURIComponent(basename(model))}`, // an address
    title: basename(model),
  }));
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
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { model: { type: "string", multiple: true, default: [] } },
  });
  const folder = resolve(positionals[0] ?? join(root, "site"));
  await rm(folder, { recursive: true, force: true });
  await buildSite(folder, values.model);
  console.log(`${folder} is a static site: any web server can offer it`);
}
