/** The queries of the pages. */
import {
  keepPreviousData,
  QueryCache,
  QueryClient,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { apiKey } from "../lib/apiKey";
import { attributeFilters } from "../lib/attributes";
import { browserId, randomId, rotateAfter, sessionId } from "../lib/browserId";
import { load } from "../lib/pictures";
import { isIdle, type SearchState } from "../lib/searchState";
import {
  ApiError,
  api,
  type Label,
  READY_TIMEOUT_MS,
  retryDelay,
  type Schemas,
  type SearchResponse,
  unwrap,
  type VariantName,
  withTimeout,
} from "./client";

const HEALTH_POLL_MS = 10_000;
/** The first look-up starts the process that reads the feature store. */
const FEATURES_MS = 90_000;
const KEPT_MS = 10 * 60_000;

const READY_KEY = ["ready"] as const;
const FACETS_KEY = ["facets"] as const;

export function newQueryClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      // A call may have failed because the service is gone: update the header at once.
      onError: (error, query) => {
        if (retryDelay(error) !== false && query.queryKey[0] !== READY_KEY[0])
          void client.invalidateQueries({ queryKey: READY_KEY });
      },
      onSuccess: (data, query) => {
        const index = indexOf(query.queryKey, data);
        if (index) takeIndex(client, index);
      },
    }),
    defaultOptions: {
      queries: {
        // The interval below repeats failed calls. The browser's offline state says nothing about a service on this
        // machine.
        retry: false,
        networkMode: "always",
        staleTime: 60_000,
        refetchOnWindowFocus: (query) => query.state.status === "error",
        refetchInterval: (query) => (query.state.error ? retryDelay(query.state.error) : false),
      },
      mutations: { retry: false, networkMode: "always" },
    },
  });
  return client;
}

/** The product index that an answer is from; null where it says none. Variant b may have another. */
function indexOf(key: readonly unknown[], data: unknown): string | null {
  if (key[0] === READY_KEY[0]) return (data as Schemas["Health"]).index ?? null;
  if (key[0] === "search" && key[1] === "serving") return (data as SearchResponse).versions.index;
  return null;
}

/** Fetches what is of another index again: the service may have been started with a new one. */
function takeIndex(client: QueryClient, index: string): void {
  const facets = client.getQueryData<Schemas["Facets"]>(FACETS_KEY);
  if (!facets || facets.index === index) return;
  void client.invalidateQueries({
    predicate: ({ queryKey, state }) =>
      queryKey[0] === FACETS_KEY[0] ||
      ["product", "similar", "features", "version"].includes(String(queryKey[0])) ||
      (queryKey[0] === "search" && (state.data as SearchResponse | undefined)?.versions.index !== index),
  });
}

type SearchWhere = "serving" | VariantName | "interleaved";

function isSearchResponse(data: SearchResponse): boolean {
  return (
    Array.isArray(data.results) &&
    data.results.every(
      (r) =>
        typeof r.product_id === "string" &&
        typeof r.score === "number" &&
        typeof r.probabilities === "object" &&
        r.probabilities !== null,
    ) &&
    typeof data.request_id === "string" &&
    typeof data.versions === "object" &&
    typeof data.timings === "object"
  );
}

const TEXT_PATHS = { a: "/v1/search_a", b: "/v1/search_b", interleaved: "/v1/search_best" } as const;
const PICTURE_PATHS = {
  serving: "/v1/predict-image",
  a: "/v1/search_a_image",
  b: "/v1/search_b_image",
  interleaved: "/v1/search_best_image",
} as const;

/** A search with a picture, as the multipart routes take it. */
async function pictureForm(state: SearchState, picture: string, end: AbortSignal): Promise<FormData> {
  const form = new FormData();
  form.set("image", await load(picture, end), "picture");
  if (state.query.trim()) form.set("query", state.query);
  form.set("k", String(state.k));
  if (state.threshold !== null) form.set("threshold", String(state.threshold));
  for (const brand of state.brand) form.append("brand", brand);
  for (const color of state.color) form.append("color", color);
  if (state.withPicture) form.set("with_picture", "true");
  if (state.verbatim) form.set("verbatim", "true");
  for (const filter of state.filters) form.append("filter", filter);
  return form;
}

function filtersOf({ brand, color, withPicture, filters }: SearchState): Schemas["Filters"] {
  return { brand, color, with_picture: withPicture, attributes: attributeFilters(filters) };
}

/** One search. A picture uses the multipart routes, words only the others. */
async function search(state: SearchState, where: SearchWhere, signal: AbortSignal): Promise<SearchResponse> {
  const end = withTimeout(signal);
  const headers = visitHeader();
  if (state.picture) {
    const form = await pictureForm(state, state.picture, end);
    if (where === "serving") {
      form.set("facets", "true");
      form.set("sort", state.sort);
      form.set("offset", String(state.from));
    }
    if (where === "interleaved") form.set("strategy", "interleave");
    // OpenAPI types a file as a string, so send the form itself.
    return unwrap(
      api.POST(PICTURE_PATHS[where], {
        body: form as never,
        bodySerializer: (body) => body as never,
        headers,
        signal: end,
      }),
      isSearchResponse,
    );
  }
  const values = {
    query: state.query,
    k: state.k,
    ...(state.threshold === null ? {} : { threshold: state.threshold }),
    explain: false,
    verbatim: state.verbatim,
  };
  if (where === "serving") {
    const paged = { sort: state.sort, offset: state.from, facets: true, filters: filtersOf(state) };
    return unwrap(api.POST("/v1/predict", { body: { ...values, ...paged }, headers, signal: end }), isSearchResponse);
  }
  const query = {
    ...values,
    brand: state.brand,
    color: state.color,
    with_picture: state.withPicture,
    filter: state.filters,
  };
  if (where === "interleaved") {
    return unwrap(
      api.GET(TEXT_PATHS.interleaved, {
        params: { query: { ...query, strategy: "interleave" } },
        headers,
        signal: end,
      }),
      isSearchResponse,
    );
  }
  return unwrap(api.GET(TEXT_PATHS[where], { params: { query }, headers, signal: end }), isSearchResponse);
}

/** A search's answer, fetched once and kept: the experiment would count another fetch as another exposure. */
export function useSearch(state: SearchState, where: SearchWhere = "serving") {
  const { why: _why, like: _like, ...asked } = state;
  return useQuery({
    queryKey: ["search", where, asked],
    queryFn: ({ signal }) => search(state, where, signal),
    enabled: !isIdle(state) && !state.like,
    placeholderData: keepPreviousData,
    staleTime: KEPT_MS,
    gcTime: KEPT_MS,
  });
}

/** Why one product scores as it does, asked when its explanation is opened. */
async function explain(
  state: SearchState,
  productId: string,
  variant: VariantName,
  model: string | null,
  signal: AbortSignal,
): Promise<Schemas["Explained"]> {
  const end = withTimeout(signal);
  const isWhole = (data: Schemas["Explained"]) => Array.isArray(data.parts) && typeof data.baseline === "number";
  if (state.picture) {
    const form = await pictureForm(state, state.picture, end);
    form.set("product_id", productId);
    form.set("variant", variant);
    if (model) form.set("model", model);
    return unwrap(
      api.POST("/v1/explain-image", { body: form as never, bodySerializer: (body) => body as never, signal: end }),
      isWhole,
    );
  }
  const body = {
    query: state.query,
    product_id: productId,
    filters: filtersOf(state),
    verbatim: state.verbatim,
    variant,
    model,
  };
  return unwrap(api.POST("/v1/explain", { body, signal: end }), isWhole);
}

/**
 * `requestId` is the answer's: a new answer, maybe of a new model, is explained anew. `model` is the version that
 * answered, which no other can explain; null where both variants did.
 */
export function useExplanation(
  state: SearchState,
  requestId: string,
  productId: string,
  variant: VariantName,
  model: string | null,
) {
  const { why: _why, like: _like, ...asked } = state;
  return useQuery({
    queryKey: ["explain", requestId, productId, variant, asked],
    queryFn: ({ signal }) => explain(state, productId, variant, model, signal),
    staleTime: KEPT_MS,
  });
}

export function useSimilar(productId: string | null, k: number) {
  return useQuery({
    queryKey: ["similar", productId, k],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/v1/product/similar", {
          params: { query: { id: productId ?? "", k } },
          signal: withTimeout(signal),
        }),
        (data) => Array.isArray(data.results),
      ),
    enabled: productId !== null,
  });
}

export function useProduct(productId: string | null) {
  return useQuery({
    queryKey: ["product", productId],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/v1/product", { params: { query: { id: productId ?? "" } }, signal: withTimeout(signal) }),
        (data) => typeof data.title === "string" && Array.isArray(data.judged_for) && typeof data.versions === "object",
      ),
    enabled: productId !== null,
  });
}

export function useFeatures(productId: string) {
  return useQuery({
    queryKey: ["features", productId],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/v1/product/features", {
          params: { query: { id: productId } },
          signal: withTimeout(signal, FEATURES_MS),
        }),
        (data) => Array.isArray(data.product_text_vec),
      ),
  });
}

export function useFacets() {
  return useQuery({
    queryKey: FACETS_KEY,
    queryFn: async ({ signal }) => {
      const facets = await unwrap(
        api.GET("/v1/facets", { signal: withTimeout(signal) }),
        (data) => Array.isArray(data.brands) && Array.isArray(data.colors) && typeof data.max_image_bytes === "number",
      );
      rotateAfter(facets.client_id_days);
      return facets;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function useReport() {
  return useQuery({
    queryKey: ["report"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/v1/experiments/report", { signal: withTimeout(signal) }), (data) =>
        Array.isArray(data.variants),
      ),
    staleTime: 0,
  });
}

export function useRuns() {
  return useQuery({
    queryKey: ["runs"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/v1/runs", { signal: withTimeout(signal) }), (data) => Array.isArray(data.runs)),
    staleTime: 0,
  });
}

export function useMonitoring() {
  return useQuery({
    queryKey: ["monitoring"],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/v1/monitoring", { signal: withTimeout(signal) }),
        (data) => typeof data.searches === "number" && Array.isArray(data.alarms) && Array.isArray(data.drift),
      ),
    staleTime: 0,
  });
}

export function useVersion() {
  return useQuery({
    queryKey: ["version"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/v1/version", { signal: withTimeout(signal) }), (data) => Array.isArray(data.variants)),
  });
}

/** Whether the service is ready, polled to explain failures elsewhere. */
export function useReady() {
  return useQuery({
    queryKey: READY_KEY,
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/readyz", { signal: withTimeout(signal, READY_TIMEOUT_MS) }),
        (data) => typeof data.status === "string",
      ),
    staleTime: 0,
    refetchInterval: (query) => (query.state.error ? retryDelay(query.state.error) : HEALTH_POLL_MS),
  });
}

/** What somebody did. `request_id` is the answer's; a product's page that was opened by its address has none. */
export interface Told {
  kind: Schemas["Feedback"]["kind"];
  request_id?: string | undefined;
  product_id?: string;
  /** The product's rank in the answer, from 1. */
  position?: number | undefined;
  label?: Label;
  vote?: VariantName | "tie";
  blind?: boolean;
}

/** Names that UBI's schema takes: it refuses those of its own list. */
const ACTIONS = {
  impression: "view_search_results",
  click: "item_click",
  view: "product_view",
  judgement: "judgement",
  vote: "vote",
} as const;

/** An event of User Behavior Insights. */
function ubiEvent({ kind, request_id, product_id, position, label, vote, blind }: Told): Schemas["UbiEvent"] {
  return {
    action_name: ACTIONS[kind],
    timestamp: new Date().toISOString(),
    ...(request_id ? { query_id: request_id } : {}),
    client_id: browserId(),
    session_id: sessionId(),
    event_attributes: {
      event_id: randomId(),
      position: { ordinal: position ?? 1 },
      ...(product_id ? { object: { object_id: product_id, object_id_field: "product_id" } } : {}),
      ...(label ? { label } : {}),
      ...(vote ? { vote } : {}),
      blind: blind ?? false,
    },
  };
}

/** Feedback of this browser. */
export function useFeedback() {
  const client = useQueryClient();
  return useMutation<unknown, ApiError | Error, Told>({
    mutationFn: (body) =>
      taken(
        unwrap(
          api.POST("/v1/events", {
            body: { events: [ubiEvent(body)] },
            headers: keyHeader(),
            signal: withTimeout(),
            keepalive: true, // a click leaves the page
          }),
          (data) => typeof data.accepted === "number" && Array.isArray(data.rejected),
        ),
      ),
    onSuccess: (_data, body) => {
      if (body.kind === "judgement") void client.invalidateQueries({ queryKey: ["judgements"] });
      if (body.kind !== "impression") void client.invalidateQueries({ queryKey: ["report"] });
    },
  });
}

/** Throws where the service did not store the event. */
async function taken(answer: Promise<Schemas["EventsAccepted"]>): Promise<void> {
  const rejected = (await answer).rejected[0];
  if (rejected) throw new ApiError(rejected.code === "unknown_answer" ? "missing" : "refused", rejected.detail);
}

/** The visit of which a search is; the client's id goes with every request. */
function visitHeader(): Record<string, string> {
  return { "x-session-id": sessionId() };
}

function keyHeader(): Record<string, string> {
  const key = apiKey.get();
  return key ? { "x-api-key": key } : {};
}

/** This browser's judgements for a query, by product. Empty where there is no query or they cannot be read. */
export function useJudgements(query: string, picture: boolean): ReadonlyMap<string, Label> {
  const given = useQuery({
    queryKey: ["judgements", query],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/v1/judgements", {
          params: { query: { client: browserId(), query, limit: 1000 } },
          headers: keyHeader(),
          signal: withTimeout(signal),
        }),
        (data) => Array.isArray(data.judgements),
      ),
    enabled: query.trim() !== "" && !picture,
    refetchInterval: false,
  });
  return new Map(given.data?.judgements.filter((one) => !one.picture).map((one) => [one.product_id, one.label]));
}
