/** A service for component tests: answers by path, counted, and a page drawn against it. */
import { QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import { createMemoryRouter, RouterProvider } from "react-router";
import { vi } from "vitest";
import type { Result, Schemas, SearchResponse } from "../api/client";
import { newQueryClient } from "../api/queries";
import { routes } from "../routes";

export interface Call {
  method: string;
  path: string;
  params: URLSearchParams;
  body: unknown;
}
export type Answer = Response | object | Promise<Response | object>;
export type Answers = Record<string, Answer | ((call: Call) => Answer)>;

export const VERSIONS: Schemas["Versions"] = {
  model: "17",
  model_name: "pointwise",
  mlflow_run_id: "run1",
  feature_service: "ranker_v1",
  feature_contract: "0a1b2c3d",
  data_hash: "hash.dir",
  git_commit: "c0ffee",
  encoder: "offline",
  index: "1d3e",
};

export function result(rank: number, patch: Partial<Result> = {}): Result {
  return {
    rank,
    product_id: `P${rank}`,
    title: `Product ${rank}`,
    brand: "Acme",
    color: "Red",
    description: null,
    image: null,
    score: 1 - rank / 10,
    probabilities: { E: 0.7, S: 0.2, C: 0.06, I: 0.04 },
    predicted: "E",
    ...patch,
  };
}

export function answer(results: Result[], patch: Partial<SearchResponse> = {}): SearchResponse {
  return {
    request_id: "request-1",
    original_query: "red shoes",
    rewritten_query: "red shoes",
    results,
    changes: [],
    search_instead: null,
    unmet: [],
    uncertain: false,
    calibrated: true,
    cutoff: 0.2,
    strategy: "single",
    candidates: 100,
    offset: 0,
    cached: false,
    versions: VERSIONS,
    timings: { rewrite_ms: 0.1, encode_ms: 0.2, retrieve_ms: 1, rank_ms: 2, total_ms: 3.3 },
    ...patch,
  };
}

export function explained(productId: string, patch: Partial<Schemas["Explained"]> = {}): Schemas["Explained"] {
  return {
    product_id: productId,
    score: 0.9,
    baseline: 0.4,
    baseline_is: "the middle candidate of this search",
    parts: [],
    variant: "a",
    versions: VERSIONS,
    ...patch,
  };
}

export const FACETS: Schemas["Facets"] = {
  products: 1234,
  with_picture: 1200,
  brands: [{ value: "Acme", products: 7 }],
  colors: [{ value: "Red", products: 5 }],
  sample_queries: ["red shoes"],
  sample_pictures: ["/v1/product/image?id=P1"],
  max_image_bytes: 1000,
  picture_types: ["image/png", "image/jpeg", "image/webp"],
  synthetic: true,
  index: VERSIONS.index,
  client_id_days: 30,
};

export const DELIVERY = { served: "17", pinned: false, note: null, canary: null, canary_share: 0, shadow: null };

const ALWAYS: Answers = {
  "/v1/facets": FACETS,
  "/readyz": { status: "ok", index: VERSIONS.index },
  "/v1/judgements": { total: 0, judgements: [] },
  "/v1/events": { accepted: 1, duplicates: 0, rejected: [] },
  "/v1/version": { sqidflow: "0.1.0", variants: [], delivery: DELIVERY },
};

export function problem(status: number, detail: string, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify({ title: "Refused", status, detail }), {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });
}

/** The events that the page sent to the service. */
export function events(calls: Call[]): Schemas["UbiEvent"][] {
  return calls.filter((call) => call.path === "/v1/events").flatMap((call) => (call.body as Schemas["Events"]).events);
}

/** What the page told the service beside that it showed an answer or a product. */
export function feedback(calls: Call[]): unknown[] {
  return events(calls)
    .filter((event) => !["view_search_results", "product_view"].includes(event.action_name))
    .map((event) => {
      const { object, label, vote, blind } = event.event_attributes ?? {};
      return {
        request_id: event.query_id,
        kind: event.action_name === "item_click" ? "click" : event.action_name,
        client: event.client_id,
        blind,
        ...(object ? { product_id: object.object_id } : {}),
        ...(label ? { label } : {}),
        ...(vote ? { vote } : {}),
      };
    });
}

/** Stands in for the network. A path may end with "?id=" and a product.  `Response.error()` in an answer is a network that fails. Returns the calls that were made. */
export function serve(answers: Answers): Call[] {
  const all = { ...ALWAYS, ...answers };
  const calls: Call[] = [];
  vi.stubGlobal("fetch", async (input: RequestInfo | URL, init?: RequestInit) => {
    const request =
      input instanceof Request ? input : new Request(new URL(String(input), window.location.origin), init);
    const url = new URL(request.url);
    const type = request.headers.get("content-type") ?? "";
    const body = type.includes("json") ? await request.clone().json() : type.includes("multipart") ? "multipart" : null;
    const call = { method: request.method, path: url.pathname, params: url.searchParams, body };
    calls.push(call);
    const given = all[`${url.pathname}?id=${url.searchParams.get("id")}`] ?? all[url.pathname];
    if (given === undefined) return problem(404, `nothing at ${url.pathname}`);
    const answered = await (typeof given === "function" ? given(call) : given);
    if (answered instanceof Response) {
      if (answered.type === "error") throw new TypeError("Failed to fetch");
      return answered.clone();
    }
    return Response.json(answered);
  });
  return calls;
}

/** The whole page at an address. */
export function open(address: string) {
  const router = createMemoryRouter(routes, { initialEntries: [address] });
  const client = newQueryClient();
  render(
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
  return { router, client, address: () => router.state.location.pathname + router.state.location.search };
}
