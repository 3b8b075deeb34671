/** The state of a search in the address: everything that decides what is shown. */
import { RELEVANCE, splitFilter } from "./attributes";

export const DEFAULT_K = 10;
export const K_CHOICES = [10, 20, 50, 100] as const;
const MAX_K = 100;
const MAX_FROM = 999;

export interface SearchState {
  query: string;
  /** `upload:<id>` for a picture kept in this browser, or a path on this server. */
  picture: string | null;
  /** Shows products similar to this one instead of a search. */
  like: string | null;
  k: number;
  /** null means the service's calibrated cut-off. */
  threshold: number | null;
  brand: string[];
  color: string[];
  withPicture: boolean;
  /** Of attributes, each "name:value" or "name:10..20". */
  filters: string[];
  /** "relevance", or an attribute and a direction: "price:asc". */
  sort: string;
  /** How many results are passed over: the pages before. */
  from: number;
  /** Search the words as they are: nothing is corrected. */
  verbatim: boolean;
  /** The product whose explanation is open. */
  why: string | null;
}

export const EMPTY: SearchState = {
  query: "",
  picture: null,
  like: null,
  k: DEFAULT_K,
  threshold: null,
  brand: [],
  color: [],
  withPicture: false,
  filters: [],
  sort: RELEVANCE,
  from: 0,
  verbatim: false,
  why: null,
};

const UPLOAD = /^upload:[a-z0-9-]{1,40}$/;
// Of a picture on this server: characters that encodeURIComponent keeps, and "%". Addresses of before are still taken.
const LOCAL_PATH = /^\/(?:v1\/product\/image\?id=[\w.~!*'()%-]+|products\/[\w.~!*'()%-]+\/image)$/;

/** Reads an address. Invalid values are ignored, because people edit addresses. */
export function parse(params: URLSearchParams): SearchState {
  const k = Number(params.get("k"));
  const threshold = params.get("t");
  const cutoff = Number(threshold);
  const picture = params.get("picture");
  const from = Number(params.get("from"));
  const sort = params.get("sort") ?? RELEVANCE;
  return {
    query: params.get("q") ?? "",
    picture: picture && (UPLOAD.test(picture) || LOCAL_PATH.test(picture)) ? picture : null,
    like: params.get("like") || null,
    k: Number.isInteger(k) && k >= 1 && k <= MAX_K ? k : DEFAULT_K,
    threshold: threshold && Number.isFinite(cutoff) && cutoff >= 0 && cutoff <= 1 ? cutoff : null,
    brand: params.getAll("brand").filter(Boolean),
    color: params.getAll("color").filter(Boolean),
    withPicture: params.get("with_picture") === "1",
    filters: params.getAll("filter").filter((filter) => splitFilter(filter) !== null),
    sort: /^.+:(?:asc|desc)$/.test(sort) ? sort : RELEVANCE,
    from: Number.isInteger(from) && from >= 0 && from <= MAX_FROM ? from : 0,
    verbatim: params.get("verbatim") === "1",
    why: params.get("why") || null,
  };
}

/** The address of a search, without defaults to keep it short. */
export function serialise(state: SearchState): URLSearchParams {
  const params = new URLSearchParams();
  if (state.query) params.set("q", state.query);
  if (state.picture) params.set("picture", state.picture);
  if (state.like) params.set("like", state.like);
  if (state.k !== DEFAULT_K) params.set("k", String(state.k));
  if (state.threshold !== null) params.set("t", String(state.threshold));
  for (const brand of state.brand) params.append("brand", brand);
  for (const color of state.color) params.append("color", color);
  if (state.withPicture) params.set("with_picture", "1");
  for (const filter of state.filters) params.append("filter", filter);
  if (state.sort !== RELEVANCE) params.set("sort", state.sort);
  if (state.from > 0) params.set("from", String(state.from));
  if (state.verbatim) params.set("verbatim", "1");
  if (state.why) params.set("why", state.why);
  return params;
}

export function address(path: string, patch: Partial<SearchState>): string {
  const params = serialise({ ...EMPTY, ...patch }).toString();
  return params ? `${path}?${params}` : path;
}

/** Number of active filters. */
export function filterCount(state: SearchState): number {
  const { brand, color, filters, withPicture, threshold } = state;
  return brand.length + color.length + filters.length + Number(withPicture) + Number(threshold !== null);
}

/** A state without filters. */
export const UNFILTERED = {
  brand: EMPTY.brand,
  color: EMPTY.color,
  filters: EMPTY.filters,
  withPicture: EMPTY.withPicture,
  threshold: EMPTY.threshold,
} satisfies Partial<SearchState>;

export function isIdle(state: SearchState): boolean {
  return !state.query.trim() && !state.picture && !state.like;
}
