import { defineConfig } from "vitest/config";

// What measures and what takes pictures: run by name, never as tests.
export default defineConfig({
  test: { environment: "node", include: ["tools/*.ts"], testTimeout: 300_000, hookTimeout: 120_000 },
});
