import { defineConfig, mergeConfig } from "vitest/config";
import fast from "./vitest.config.ts";

/** What needs a real Chromium: the package in a page, and the studio. */
export default mergeConfig(
  { ...fast, test: { ...fast.test, include: [] } },
  defineConfig({ test: { include: ["test/browser/**/*.test.ts"], testTimeout: 300_000, maxWorkers: 1 } }),
);
