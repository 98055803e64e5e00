import { defineConfig, mergeConfig } from "vitest/config";
import fast from "./vitest.config.ts";

/** Suites too slow for every save: models at size, the command in a terminal. */
export default mergeConfig(
  { ...fast, test: { ...fast.test, include: [] } },
  defineConfig({ test: { include: ["test/slow/**/*.test.ts"], testTimeout: 600_000 } }),
);
