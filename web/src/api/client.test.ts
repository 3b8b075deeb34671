import { describe, expect, test } from "vitest";
import { answer, problem, result, serve } from "../test/service";
import { type ApiError, api, retryDelay, unwrap } from "./client";

const search = () =>
  unwrap(
    api.POST("/v1/predict", {
      body: {
        query: "x",
        k: 10,
        explain: false,
        verbatim: false,
        facets: false,
        offset: 0,
        sort: "relevance",
        filters: { brand: [], color: [], with_picture: false },
      },
    }),
    (data) => Array.isArray(data.results),
  );

async function failure(): Promise<ApiError> {
  return search().then(
    () => {
      throw new Error("it succeeded");
    },
    (error: unknown) => error as ApiError,
  );
}

describe("every way a call can fail is told apart", () => {
  test.each([
    [400, "refused", false],
    [401, "locked", false],
    [404, "missing", false],
    [413, "refused", false],
    [422, "refused", false],
    [429, "busy", 3000],
    [500, "broken", 3000],
    [502, "broken", 3000],
    [503, "not_ready", 3000],
  ] as const)("status %i is %s", async (status, kind, delay) => {
    serve({ "/v1/predict": problem(status, "what the service said") });
    const error = await failure();
    expect([error.kind, error.message, retryDelay(error)]).toEqual([kind, "what the service said", delay]);
  });

  test("the service's own wait is kept, up to five minutes", async () => {
    serve({ "/v1/predict": problem(429, "slow down", { "Retry-After": "7" }) });
    expect(retryDelay(await failure())).toBe(7000);
    serve({ "/v1/predict": problem(429, "slow down", { "Retry-After": "86400" }) });
    expect(retryDelay(await failure())).toBe(300_000);
  });

  test("no connection", async () => {
    serve({ "/v1/predict": Response.error() });
    const error = await failure();
    expect([error.kind, retryDelay(error)]).toEqual(["unreachable", 3000]);
  });

  test.each([
    ["a page instead of JSON", new Response("<html>proxy</html>", { headers: { "content-type": "text/html" } })],
    ["cut JSON", new Response('{"results": [', { headers: { "content-type": "application/json" } })],
    ["another shape", Response.json({ hits: [] })],
    ["null", Response.json(null)],
    ["a list", Response.json([])],
  ])("garbage: %s", async (_name, garbage) => {
    serve({ "/v1/predict": garbage });
    const error = await failure();
    expect([error.kind, retryDelay(error)]).toEqual(["garbage", 3000]);
  });

  test("an error page that is no problem document still says its status", async () => {
    serve({ "/v1/predict": new Response("<h1>Bad gateway</h1>", { status: 502 }) });
    expect((await failure()).message).toBe("The service answered 502.");
  });
});

test("a whole answer passes", async () => {
  serve({ "/v1/predict": answer([result(1)]) });
  expect((await search()).results[0]?.product_id).toBe("P1");
});
