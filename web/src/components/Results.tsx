import { useRef } from "react";
import { Link } from "react-router";
import type { SearchResponse } from "../api/client";
import { useJudgements } from "../api/queries";
import { formatCount, formatMs } from "../lib/format";
import { address, EMPTY, filterCount, type SearchState, serialise, UNFILTERED } from "../lib/searchState";
import { useImpression } from "../lib/useImpression";
import { useListKeys } from "../lib/useListKeys";
import { EsciLegend } from "./EsciBar";
import { Lineage } from "./Lineage";
import { Pages } from "./Pages";
import { ResultCard } from "./ResultCard";
import { SortSelect } from "./SortSelect";

interface Props {
  answer: SearchResponse;
  state: SearchState;
  update: (patch: Partial<SearchState>, options?: { replace?: boolean }) => void;
  interleaved?: boolean;
  /** Shows the variant of each product of an interleaved answer. Hidden by default, because clicks decide the winner. */
  named?: boolean;
}

/** An answer: the rewritten query, the products, and the versions behind it. */
export function Results({ answer, state, update, interleaved = false, named = false }: Props) {
  const list = useRef<HTMLOListElement>(null);
  useListKeys(list);
  useImpression(answer.request_id, !named);
  const judged = useJudgements(answer.original_query, state.picture !== null);
  const rewritten =
    answer.rewritten_query.trim() !== answer.original_query.trim() && answer.rewritten_query.trim() !== "";
  const instead = answer.search_instead ?? null;
  const unmet = answer.unmet ?? [];
  const { results } = answer;
  return (
    <>
      <h2 className="sr-only">Results</h2>
      <div className="flex flex-wrap items-baseline gap-x-4 gap-y-1 pb-2">
        <p className="text-sm" role="status">
          <strong className="font-semibold">
            {results.length === 1 ? "1 result" : `${formatCount(results.length)} results`}
          </strong>
          <span className="figures text-soft">
            {" "}
            {answer.total != null && answer.total > results.length && `of ${formatCount(answer.total)} that fit, `}
            of {formatCount(answer.candidates)} candidates, {formatMs(answer.timings.total_ms)}
            {answer.cached && ", from the cache"}
          </span>
        </p>
        {rewritten && (
          <p className="text-sm text-soft">
            Showing results for{" "}
            <strong className="font-medium text-ink" dir="auto">
              {answer.rewritten_query}
            </strong>
            {instead !== null && (
              <>
                {"; "}
                <button type="button" className="link" onClick={() => update({ verbatim: true })}>
                  search instead for “{instead}”
                </button>
              </>
            )}
          </p>
        )}
        {state.verbatim && (
          <p className="text-sm text-soft">
            Searched as typed;{" "}
            <button type="button" className="link" onClick={() => update({ verbatim: false })}>
              correct spelling
            </button>
          </p>
        )}
        <div className="flex flex-wrap items-center gap-x-5 gap-y-1 sm:ml-auto">
          {!interleaved && <SortSelect value={state.sort} onChange={(sort) => update({ sort })} />}
          {!interleaved && (
            <Link
              to={`/compare?${serialise({ ...state, why: null, sort: EMPTY.sort, from: 0 })}`}
              className="link text-sm"
            >
              Compare A and B
            </Link>
          )}
          {results.length > 0 && <EsciLegend />}
        </div>
      </div>
      {unmet.length > 0 && (
        <p role="status" className="mb-3 rounded-lg bg-warn px-4 py-2 text-sm text-warn-ink">
          <strong className="font-semibold">{unmetWishes(unmet)}</strong> These products match the rest of your search.
        </p>
      )}
      {answer.uncertain && (
        <p role="status" className="mb-3 rounded-lg bg-warn px-4 py-2 text-sm text-warn-ink">
          <strong className="font-semibold">No good match.</strong> Try fewer or other words, or a picture.
        </p>
      )}
      {answer.calibrated === false && results.length > 0 && (
        <p className="mb-3 text-sm text-soft">
          This catalogue is too small to tell what fits a search from what does not, so every search is answered.
        </p>
      )}
      {results.length > 0 || answer.offset ? (
        <ol ref={list} id="results" tabIndex={-1} aria-label="Results" className="panel divide-y divide-line">
          {results.map((result) => (
            <ResultCard
              // A judgement belongs to one answer, so the card of the next answer must be a new one.
              key={`${answer.request_id}/${result.product_id}`}
              result={result}
              requestId={answer.request_id}
              model={interleaved ? null : answer.versions.model}
              state={state}
              judged={judged.get(result.product_id)}
              whyOpen={state.why === result.product_id}
              onWhy={() =>
                update({ why: state.why === result.product_id ? null : result.product_id }, { replace: true })
              }
              showVariant={named}
            />
          ))}
        </ol>
      ) : (
        <Nothing answer={answer} state={state} update={update} />
      )}
      {!interleaved && (
        <Pages
          answer={answer}
          k={state.k}
          onPage={(from) => {
            update({ from });
            document.getElementById("results")?.focus();
          }}
        />
      )}
      <details className="mt-3 text-sm">
        <summary className="min-h-6 w-fit text-soft hover:text-ink">Versions and timings</summary>
        <div className="panel mt-2 grid gap-6 p-4 md:grid-cols-2">
          <Lineage versions={answer.versions} />
          <dl className="grid h-fit grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
            {(["rewrite", "encode", "retrieve", "rank", "total"] as const).map((part) => (
              <div key={part} className="contents">
                <dt className="text-soft">{part}</dt>
                <dd className="figures">{formatMs(answer.timings[`${part}_ms`])}</dd>
              </div>
            ))}
            <dt className="text-soft">request</dt>
            <dd className="font-mono text-xs leading-[1.2rem] break-all">{answer.request_id}</dd>
          </dl>
        </div>
      </details>
    </>
  );
}

/** Names the wishes that no product meets. */
function unmetWishes(unmet: NonNullable<SearchResponse["unmet"]>): string {
  const wishes = unmet.map((each) => `“${each.wish}”`).join(unmet.length === 2 ? " or " : ", ");
  return unmet.some((each) => each.kind === "words")
    ? `No product has ${wishes}.`
    : `Nothing of this kind is ${wishes}.`;
}

/** Says why there are no results, and offers a way on. */
function Nothing({ answer, state, update }: Omit<Props, "interleaved" | "named">) {
  const filters = filterCount(state);
  return (
    <section id="results" tabIndex={-1} className="panel px-5 py-6">
      <h3>No results</h3>
      <p className="mt-1 max-w-prose text-sm text-soft">
        {answer.no_answer?.message ?? "No product matches this query."}
      </p>
      <div className="mt-3 flex flex-wrap gap-2">
        {filters > 0 && (
          <button type="button" className="button" onClick={() => update(UNFILTERED)}>
            Search without filters
          </button>
        )}
        {(answer.search_instead ?? null) !== null && (
          <button type="button" className="button button-long" onClick={() => update({ verbatim: true })}>
            Search instead for “{answer.search_instead}”
          </button>
        )}
        {answer.no_answer?.code === "below_threshold" && state.threshold !== 0 && (
          <button type="button" className="button" onClick={() => update({ threshold: 0 })}>
            Show lower scores
          </button>
        )}
        <Link to={address("/", {})} className="button">
          Show examples
        </Link>
      </div>
    </section>
  );
}

export function Skeleton({ rows, slow }: { rows: number; slow: boolean }) {
  return (
    <div role="status">
      <p className={slow ? "mb-2 rounded-lg bg-warn px-4 py-2 text-sm text-warn-ink" : "sr-only"}>
        {slow
          ? "This takes longer than usual. Your search is kept, and the results appear when they arrive."
          : "Searching"}
      </p>
      <div aria-hidden className="panel divide-y divide-line">
        {Array.from({ length: rows }, (_, row) => (
          <div key={row} className="skeleton flex gap-3 px-4 py-3">
            <span className="ml-9 size-16 rounded-md bg-sunken" />
            <span className="flex-1 space-y-2 pt-1">
              <span className="block h-3.5 w-3/4 rounded-sm bg-sunken" />
              <span className="block h-3 w-1/4 rounded-sm bg-sunken" />
            </span>
          </div>
        ))}
      </div>
    </div>
  );
}
