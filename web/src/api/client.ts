/** The service's API, typed from its OpenAPI document, with a kind for every way a call can fail. */
import createClient from "openapi-fetch";
import { browserId } from "../lib/browserId";
import { API_ADDRESS } from "./address";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type SearchResponse = Schemas["SearchResponse"];
export type Result = Schemas["Result"];
export type Label = "E" | "S" | "C" | "I";
export type VariantName = "a" | "b";

export const TIMEOUT_MS = 20_000;
/** Being ready is no work: a service that takes longer is not. */
export const READY_TIMEOUT_MS = 4_000;
const RETRY_MS = 3_000;

/**
 * `unreachable`: no answer. `slow`: none within TIMEOUT_MS. `garbage`: an answer that does not match the API.
 * `broken`: 5xx. `not_ready`: 503. `busy`: 429. `locked`: 401. `missing`: 404. `refused`: another 4xx.
 * `picture_gone`: the picture in the address is not in this browser.
 */
export type FailureKind =
  | "unreachable"
  | "slow"
  | "garbage"
  | "broken"
  | "not_ready"
  | "busy"
  | "locked"
  | "missing"
  | "refused"
  | "picture_gone";

export class ApiError extends Error {
  constructor(
    readonly kind: FailureKind,
    detail: string,
    readonly retryAfterMs = RETRY_MS,
  ) {
    super(detail);
    this.name = "ApiError";
  }

  /** Whether the same call may succeed later without changes. */
  get passing(): boolean {
    return ["unreachable", "slow", "garbage", "broken", "not_ready", "busy"].includes(this.kind);
  }
}

/** Milliseconds until a failed call is repeated, or false if only the user can fix it. */
export function retryDelay(error: unknown): number | false {
  return error instanceof ApiError && error.passing ? error.retryAfterMs : false;
}

export const api = createClient<paths>({
  baseUrl: API_ADDRESS,
  fetch: (request) => globalThis.fetch(request), // looked up at the call, so that a test's own is taken
  querySerializer: { array: { style: "form", explode: true } },
});

// On every request: where two versions of the model answer, all that a client asks must come from one of them.
api.use({
  onRequest({ request }) {
    request.headers.set("X-Client-Id", browserId());
    return request;
  },
});

interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/**
 * The answer of a call, checked for required fields.
 * Throws ApiError; an abort by the caller is passed through.
 */
export async function unwrap<T>(call: Promise<Answered<T>>, isWhole: (data: T) => boolean): Promise<T> {
  let answer: Answered<T>;
  try {
    answer = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      throw new ApiError("slow", `No answer within ${TIMEOUT_MS / 1000} seconds.`);
    }
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    if (error instanceof SyntaxError) throw new ApiError("garbage", "The answer is not JSON.");
    throw new ApiError("unreachable", "No connection to the search service.");
  }
  const { data, error, response } = answer;
  if (!response.ok) throw refusal(response, error);
  if (data === undefined || data === null || typeof data !== "object" || !isWhole(data)) {
    throw new ApiError("garbage", "The answer lacks fields that this page needs.");
  }
  return data;
}

function refusal(response: Response, body: unknown): ApiError {
  const problem = typeof body === "object" && body !== null ? (body as { detail?: unknown; title?: unknown }) : {};
  const detail =
    typeof problem.detail === "string" && problem.detail
      ? problem.detail
      : typeof problem.title === "string" && problem.title
        ? problem.title
        : `The service answered ${response.status}.`;
  const status = response.status;
  if (status === 429 || status === 503) {
    const seconds = Number(response.headers.get("Retry-After"));
    const wait = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 300) * 1000 : RETRY_MS;
    return new ApiError(status === 429 ? "busy" : "not_ready", detail, wait);
  }
  if (status >= 500) return new ApiError("broken", detail);
  return new ApiError(status === 401 || status === 403 ? "locked" : status === 404 ? "missing" : "refused", detail);
}

/** The caller's signal, which also aborts after `ms`. */
export function withTimeout(signal?: AbortSignal, ms = TIMEOUT_MS): AbortSignal {
  const end = AbortSignal.timeout(ms);
  return signal ? AbortSignal.any([signal, end]) : end;
}
