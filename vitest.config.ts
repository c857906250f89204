import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 120_000,
    globalSetup: ['test/tools/compile-cache.ts', 'test/tools/shared-server.ts'],
    pool: 'forks',
    maxWorkers: 2,
  },
})
