import { useCallback, useMemo } from "react";
import { useSearchParams } from "react-router";
import { parse, type SearchState, serialise } from "./searchState";

/** The search in the address, and a way to change parts of it. Every change is a step for the back button unless `replace`. */
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
          const next = serialise({ ...parse(now), ...patch });
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
