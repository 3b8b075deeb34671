import { useCallback, useMemo } from "react";
import { useSearchParams } from "react-router";
import { parse, type SearchState, serialise } from "./searchState";

/** The search state in the address, and a function to change parts of it. Each change is a history entry unless `replace`. */
export function useSearchState(): [
  SearchState,
  (patch: Partial<SearchState>, options?: { replace?: boolean }) => void,
] {
  const [params, setParams] = useSearchParams();
  const state = useMemo(() => parse(params), [params]);
  const update = useCallback(
    (patch: Partial<SearchState>, options: { replace?: boolean } = {}) =>
      setParams(
        (now) => {
          // Another search, filter or order begins at its first page.
          const from = Object.keys(patch).every((key) => key === "why" || key === "from") ? {} : { from: 0 };
          const next = serialise({ ...parse(now), ...from, ...patch });
          for (const own of ["mode", "named"]) {
            const value = now.get(own);
            if (value) next.set(own, value);
          }
          return next;
        },
        { replace: options.replace ?? false, preventScrollReset: true },
      ),
    [setParams],
  );
  return [state, update];
}
