import type { SearchResponse } from "../api/client";
import { formatCount } from "../lib/format";

interface Props {
  answer: SearchResponse;
  k: number;
  onPage: (from: number) => void;
}

/** The way to the pages before and after this one. */
export function Pages({ answer, k, onPage }: Props) {
  const { total, offset = 0, next_offset: next, results } = answer;
  if (total == null || (offset === 0 && next == null)) return null;
  return (
    <nav aria-label="Pages of results" className="mt-3 flex flex-wrap items-center gap-3 text-sm">
      <button type="button" className="button" disabled={offset === 0} onClick={() => onPage(Math.max(0, offset - k))}>
        Previous page
      </button>
      <p className="figures">
        {results.length > 0
          ? `${formatCount(offset + 1)} to ${formatCount(offset + results.length)} of ${formatCount(total)}`
          : `Nothing after ${formatCount(total)}`}
      </p>
      <button type="button" className="button" disabled={next == null} onClick={() => next != null && onPage(next)}>
        Next page
      </button>
    </nav>
  );
}
