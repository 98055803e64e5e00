import { resolve } from "node:path";
import { defineConfig } from "vite";
import about from "../package.json" with { type: "json" };

/** `--mode server`: the page of `koala serve`. `--mode site`: the page that draws in the browser alone. */
export default defineConfig(({ mode }) => ({
  root: import.meta.dirname,
  base: "./",
  publicDir: false,
  logLevel: "error",
  define: { __VERSION__: JSON.stringify(about.version) },
  resolve: { conditions: ["source", "browser", "module", "import", "default"] },
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  worker: { format: "es" },
  build: {
    outDir: resolve(import.meta.dirname, mode === "site" ? "../site" : "../dist/studio"),
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 2000,
    // the server's page computes nothing: the engine's files would only lie beside it
    rollupOptions: { external: mode === "server" ? [/^onnxruntime-web/] : [] },
  },
}));
