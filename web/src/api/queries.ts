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
import { load } from "../lib/pictures";
import { isIdle, type SearchState } from "../lib/searchState";
import {
  type ApiError,
  api,
  retryDelay,
  type Schemas,
  type SearchResponse,
  unwrap,
  type VariantName,
  withTimeout,
} from "./client";

const HEALTH_POLL_MS = 15_000;
const KEPT_MS = 10 * 60_000;

const READY_KEY = ["ready"] as const;

export function newQueryClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      // A call may have failed because the service is gone: update the header at once.
      onError: (error, query) => {
        if (retryDelay(error) !== false && query.queryKey[0] !== READY_KEY[0])
          void client.invalidateQueries({ queryKey: READY_KEY });
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

const TEXT_PATHS = { a: "/search_a", b: "/search_b", interleaved: "/search_best" } as const;
const PICTURE_PATHS = {
  serving: "/predict-image",
  a: "/search_a_image",
  b: "/search_b_image",
  interleaved: "/search_best_image",
} as const;

/** One search. A picture uses the multipart routes, words only the others. */
async function search(state: SearchState, where: SearchWhere, signal: AbortSignal): Promise<SearchResponse> {
  const end = withTimeout(signal);
  // Explanations cost the service a few milliseconds, and every answer includes them: a second search for them would
  // count as another exposure, and an interleaved list would be drawn again. The side-by-side lists do not show them.
  const explain = where === "serving" || where === "interleaved";
  if (state.picture) {
    const picture = await load(state.picture, end);
    const form = new FormData();
    form.set("image", picture, "picture");
    if (state.query.trim()) form.set("query", state.query);
    form.set("k", String(state.k));
    if (state.threshold !== null) form.set("threshold", String(state.threshold));
    for (const brand of state.brand) form.append("brand", brand);
    for (const color of state.color) form.append("color", color);
    if (state.withPicture) form.set("with_picture", "true");
    if (explain) form.set("explain", "true");
    if (state.verbatim) form.set("verbatim", "true");
    if (where === "interleaved") form.set("strategy", "interleave");
    // OpenAPI types a file as a string, so send the form itself.
    return unwrap(
      api.POST(PICTURE_PATHS[where], { body: form as never, bodySerializer: (body) => body as never, signal: end }),
      isSearchResponse,
    );
  }
  const values = {
    query: state.query,
    k: state.k,
    ...(state.threshold === null ? {} : { threshold: state.threshold }),
    explain,
    ...(state.verbatim ? { verbatim: true } : {}),
  };
  if (where === "serving") {
    const filters = { brand: state.brand, color: state.color, with_picture: state.withPicture };
    return unwrap(api.POST("/predict", { body: { ...values, filters }, signal: end }), isSearchResponse);
  }
  const query = { ...values, brand: state.brand, color: state.color, with_picture: state.withPicture };
  if (where === "interleaved") {
    return unwrap(
      api.GET(TEXT_PATHS.interleaved, { params: { query: { ...query, strategy: "interleave" } }, signal: end }),
      isSearchResponse,
    );
  }
  return unwrap(api.GET(TEXT_PATHS[where], { params: { query }, signal: end }), isSearchResponse);
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

export function useSimilar(productId: string | null, k: number) {
  return useQuery({
    queryKey: ["similar", productId, k],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/products/{product_id}/similar", {
          params: { path: { product_id: productId ?? "" }, query: { k } },
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
        api.GET("/products/{product_id}", {
          params: { path: { product_id: productId ?? "" } },
          signal: withTimeout(signal),
        }),
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
        api.GET("/features/{product_id}", { params: { path: { product_id: productId } }, signal: withTimeout(signal) }),
        (data) => Array.isArray(data.product_text_vec),
      ),
  });
}

export function useFacets() {
  return useQuery({
    queryKey: ["facets"],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET("/facets", { signal: withTimeout(signal) }),
        (data) => Array.isArray(data.brands) && Array.isArray(data.colors) && typeof data.max_image_bytes === "number",
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function useReport() {
  return useQuery({
    queryKey: ["report"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/experiments/report", { signal: withTimeout(signal) }), (data) => Array.isArray(data.variants)),
    staleTime: 0,
  });
}

export function useRuns() {
  return useQuery({
    queryKey: ["runs"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/runs", { signal: withTimeout(signal) }), (data) => Array.isArray(data.runs)),
    staleTime: 0,
  });
}

export function useVersion() {
  return useQuery({
    queryKey: ["version"],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/version", { signal: withTimeout(signal) }), (data) => Array.isArray(data.variants)),
  });
}

/** Whether the service is ready, polled to explain failures elsewhere. */
export function useReady() {
  return useQuery({
    queryKey: READY_KEY,
    queryFn: ({ signal }) =>
      unwrap(api.GET("/readyz", { signal: withTimeout(signal) }), (data) => typeof data.status === "string"),
    staleTime: 0,
    refetchInterval: (query) => (query.state.error ? retryDelay(query.state.error) : HEALTH_POLL_MS),
  });
}

export function useFeedback() {
  const client = useQueryClient();
  return useMutation<unknown, ApiError | Error, Schemas["Feedback"]>({
    mutationFn: (body) => {
      const key = apiKey.get();
      const header = key ? { "x-api-key": key } : {};
      return unwrap(
        api.POST("/feedback", { body, params: { header }, signal: withTimeout(), keepalive: true }),
        (data) => data.accepted === true,
      );
    },
    onSuccess: () => client.invalidateQueries({ queryKey: ["report"] }),
  });
}
