import { defineConfig } from "vitest/config";

// One browser and one service after the other: the tests restart the service under the page's feet.
export default defineConfig({
  test: {
    environment: "node",
    include: ["e2e/**/*.e2e.ts"],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
