/** The state of a search in the address: everything that decides what is shown. */
export const DEFAULT_K = 10;
export const K_CHOICES = [10, 20, 50, 100] as const;
const MAX_K = 100;

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
  return {
    query: params.get("q") ?? "",
    picture: picture && (UPLOAD.test(picture) || LOCAL_PATH.test(picture)) ? picture : null,
    like: params.get("like") || null,
    k: Number.isInteger(k) && k >= 1 && k <= MAX_K ? k : DEFAULT_K,
    threshold: threshold && Number.isFinite(cutoff) && cutoff >= 0 && cutoff <= 1 ? cutoff : null,
    brand: params.getAll("brand").filter(Boolean),
    color: params.getAll("color").filter(Boolean),
    withPicture: params.get("with_picture") === "1",
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
  return state.brand.length + state.color.length + Number(state.withPicture) + Number(state.threshold !== null);
}

export function isIdle(state: SearchState): boolean {
  return !state.query.trim() && !state.picture && !state.like;
}
