import "@testing-library/jest-dom/vitest";
import "fake-indexeddb/auto";
import { transferableAbortController } from "node:util";
import { cleanup } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";

// Node's Request takes none but Node's own signals, and jsdom has put its own in their place.
const native = transferableAbortController();
globalThis.AbortController = native.constructor as typeof AbortController;
globalThis.AbortSignal = native.signal.constructor as typeof AbortSignal;

beforeEach(() => {
  // jsdom draws nothing: these are what the page calls and what nothing of a test depends on.
  Element.prototype.scrollIntoView = vi.fn();
  window.scrollTo = vi.fn();
  URL.createObjectURL = vi.fn(() => "blob:test");
  URL.revokeObjectURL = vi.fn();
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});
