import { beforeEach, describe, expect, test, vi } from "vitest";

const DAY_MS = 86_400_000;

describe("the browser's id", () => {
  beforeEach(() => {
    vi.resetModules();
    localStorage.clear();
  });

  test("is kept, and exchanged after its days", async () => {
    const { browserId, rotateAfter } = await import("./browserId");
    rotateAfter(2);
    const first = browserId(0);
    expect(browserId(2 * DAY_MS)).toBe(first);
    const second = browserId(2 * DAY_MS + 1);
    expect(second).not.toBe(first);
    expect(localStorage.getItem("sqidflow.client")).toBe(second);
    expect(browserId(3 * DAY_MS)).toBe(second);
  });

  test("of an earlier version is taken over, and its days begin now", async () => {
    localStorage.setItem("sqidflow.client", "an-earlier-id");
    const { browserId } = await import("./browserId");
    expect(browserId(100 * DAY_MS)).toBe("an-earlier-id");
    expect(browserId(131 * DAY_MS)).not.toBe("an-earlier-id");
  });

  test("is exchanged where the clock was set back behind its beginning", async () => {
    const { browserId } = await import("./browserId");
    const first = browserId(10 * DAY_MS);
    expect(browserId(9 * DAY_MS)).not.toBe(first);
  });

  test("of a visit is the same as long as the page is open", async () => {
    const { sessionId } = await import("./browserId");
    expect(sessionId()).toBe(sessionId());
    expect(sessionId()).toMatch(/^[0-9a-f]{32}$/);
  });
});
