import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { ApiError, type Result, type SearchResponse, type VariantName } from "../api/client";
import { useFacets, useFeedback, useSearch, useVersion } from "../api/queries";
import { ApiKeyPrompt } from "../components/ApiKeyPrompt";
import { Checkbox } from "../components/Checkbox";
import { EsciBar, EsciLegend } from "../components/EsciBar";
import { Failure } from "../components/Failure";
import { Picture } from "../components/Picture";
import { Report } from "../components/Report";
import { Results, Skeleton } from "../components/Results";
import { SearchBox } from "../components/SearchBox";
import { formatScore, formatShare } from "../lib/format";
import { isTaken } from "../lib/keys";
import { links, type Move, moves, overlap } from "../lib/moves";
import { address, filterCount, isIdle, type SearchState, serialise } from "../lib/searchState";
import { useImpression } from "../lib/useImpression";
import { useSearchState } from "../lib/useSearchState";
import { useSlow } from "../lib/useSlow";
import { useTitle } from "../lib/useTitle";
import type { FromAnswer } from "../lib/useView";

type Side = { variant: VariantName; answer: SearchResponse };

export function ComparePage() {
  const [state, update] = useSearchState();
  const [params, setParams] = useSearchParams();
  const interleaved = params.get("mode") === "interleaved";
  const named = params.get("named") === "1";
  const facets = useFacets();
  const version = useVersion();
  useTitle(state.query ? `Compare: ${state.query}` : "Compare");
  const onSearch = useCallback(
    (asked: { query: string; picture: string | null }) => update({ ...asked, like: null, why: null, verbatim: false }),
    [update],
  );
  const set = (name: string, value: string | null) =>
    setParams(
      (now) => {
        const next = new URLSearchParams(now);
        if (value === null) next.delete(name);
        else next.set(name, value);
        return next;
      },
      { preventScrollReset: true },
    );
  const idle = isIdle({ ...state, like: null });
  return (
    <>
      <h1 className="mb-3 text-lg">Compare two variants on one query</h1>
      <SearchBox state={state} onSearch={onSearch} label="Products, by both variants" />
      <div className="mt-3 mb-4 flex flex-wrap items-center gap-x-4 gap-y-2 text-sm">
        <div role="group" aria-label="Layout" className="flex">
          <button
            type="button"
            className="button rounded-r-none"
            aria-pressed={!interleaved}
            onClick={() => set("mode", null)}
          >
            Side by side
          </button>
          <button
            type="button"
            className="button -ml-px rounded-l-none"
            aria-pressed={interleaved}
            onClick={() => set("mode", "interleaved")}
          >
            Interleaved
          </button>
        </div>
        <Checkbox checked={named} onChange={(checked) => set("named", checked ? "1" : null)}>
          <span>Show variant names: {interleaved ? "clicks are" : "the vote is"} then not blind</span>
        </Checkbox>
        {filterCount(state) > 0 && (
          <span className="text-soft">
            {filterCount(state)} filters are active.{" "}
            <button
              type="button"
              className="link"
              onClick={() => update({ brand: [], color: [], withPicture: false, threshold: null })}
            >
              Clear them
            </button>
          </span>
        )}
      </div>
      {idle ? (
        <section className="panel px-5 py-4 text-sm">
          <p>
            A and B are two variants of this search, with different ranking or retrieval. Type a query: both answer it,
            and the differences are marked. Which is which stays hidden until you vote.
          </p>
          <dl className="mt-2 grid grid-cols-[auto_1fr] gap-x-3">
            {version.data?.variants.map(({ variant, description }) => (
              <div key={variant} className="contents">
                <dt className={`font-medium ${variant === "a" ? "text-variant-a" : "text-variant-b"}`}>
                  {variant.toUpperCase()}
                </dt>
                <dd>{description}</dd>
              </div>
            ))}
          </dl>
          <ul className="mt-2 flex flex-wrap gap-2">
            {facets.data?.sample_queries.map((query) => (
              <li key={query}>
                <Link to={address("/compare", { query })} className="button button-long" dir="auto">
                  {query}
                </Link>
              </li>
            ))}
          </ul>
        </section>
      ) : interleaved ? (
        <Interleaved state={state} update={update} named={named} />
      ) : (
        <SideBySide state={state} named={named} />
      )}
      <section className="mt-8">
        <h2 className="mb-3 text-base">The experiment so far</h2>
        <Report />
      </section>
    </>
  );
}

interface InterleavedProps {
  state: SearchState;
  update: (patch: Partial<SearchState>) => void;
  named: boolean;
}

function Interleaved({ state, update, named }: InterleavedProps) {
  const answer = useSearch(state, "interleaved");
  const slow = useSlow(answer.isFetching);
  if (answer.error)
    return <Failure error={answer.error} kept="Your search is kept." onRetry={() => void answer.refetch()} />;
  if (!answer.data) return <Skeleton rows={8} slow={slow} />;
  return (
    <>
      <p className="mb-2 text-sm text-soft">
        One list with products of both variants. The variant whose products are opened more often wins
        {named ? "." : ", so the variant of each product is hidden."}
      </p>
      <Results answer={answer.data} state={state} update={update} interleaved named={named} />
    </>
  );
}

function SideBySide({ state, named }: { state: SearchState; named: boolean }) {
  const a = useSearch(state, "a");
  const b = useSearch(state, "b");
  const busy = a.isFetching || b.isFetching;
  const slow = useSlow(busy);
  const error = a.error ?? b.error;
  if (error) {
    const retry = () => {
      void a.refetch();
      void b.refetch();
    };
    return <Failure error={error} kept="Your search is kept." onRetry={retry} />;
  }
  if (!a.data || !b.data) return <Skeleton rows={8} slow={slow} />;
  const isOld = a.isPlaceholderData || b.isPlaceholderData;
  return (
    <div aria-busy={busy} className={isOld ? "opacity-60" : ""}>
      <Pair key={a.data.request_id} a={a.data} b={b.data} isOld={isOld} named={named} state={state} />
    </div>
  );
}

/** Decides the sides at random, but always the same for one request, so that a re-render does not swap them. */
export function isSwapped(requestId: string): boolean {
  let sum = 0;
  for (const letter of requestId) sum = (sum * 31 + letter.charCodeAt(0)) % 9973;
  return sum % 2 === 1;
}

interface PairProps {
  a: SearchResponse;
  b: SearchResponse;
  /** One list still answers the previous query: the lists are shown, but voting is off. */
  isOld: boolean;
  /** Shows the variants' names before the vote; otherwise they are hidden and the sides are random. */
  named: boolean;
  state: SearchState;
}

function Pair({ a, b, isOld, named, state }: PairProps) {
  const vote = useFeedback();
  const [marked, setMarked] = useState<string | null>(null);
  const hidden = !named && !vote.isSuccess;
  const [left, right] = useMemo<[Side, Side]>(() => {
    const sides: [Side, Side] = [
      { variant: "a", answer: a },
      { variant: "b", answer: b },
    ];
    return !named && isSwapped(a.request_id) ? [sides[1], sides[0]] : sides;
  }, [a, b, named]);
  const ids = (side: Side) => side.answer.results.map((result) => result.product_id);
  const leftIds = ids(left);
  const rightIds = ids(right);
  const rows = Math.max(leftIds.length, rightIds.length);
  useImpression(a.request_id, !named);
  useImpression(b.request_id, !named);
  const lists = useRef<HTMLElement>(null);
  const { mutate, isPending, isSuccess } = vote;
  const isClosed = rows === 0 || isOld || isPending || isSuccess;
  const give = useCallback(
    (choice: "left" | "tie" | "right") => {
      if (isClosed) return;
      const voted = choice === "tie" ? "tie" : choice === "left" ? left.variant : right.variant;
      mutate({ request_id: a.request_id, kind: "vote", vote: voted, blind: !named });
    },
    [mutate, isClosed, left.variant, right.variant, a.request_id, named],
  );
  useEffect(() => {
    const choices = { a: "left", t: "tie", b: "right" } as const;
    const onKey = (event: KeyboardEvent) => {
      if (isTaken(event) || !(event.key in choices) || !lists.current?.contains(document.activeElement)) return;
      give(choices[event.key as keyof typeof choices]);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [give]);
  const name = (side: Side, place: "Left" | "Right") => (hidden ? place : side.variant.toUpperCase());
  if (rows === 0) {
    return (
      <section className="panel px-5 py-4 text-sm">
        <h2 className="text-base">Nothing to compare</h2>
        <p className="mt-1">{a.no_answer?.message ?? "Neither variant has an answer."}</p>
        <p className="mt-1 text-soft">Both lists are empty, so there is nothing to vote on.</p>
        <Link to={`/?${serialise({ ...state, why: null })}`} className="link mt-2 inline-block">
          Open as a search
        </Link>
      </section>
    );
  }
  return (
    <section ref={lists} id="results" tabIndex={-1} aria-label="Both answers">
      <div className="mb-3 flex flex-wrap items-center gap-x-4 gap-y-2">
        <div role="group" aria-label="Which is better" className="flex flex-wrap items-center gap-2">
          <span className="text-sm max-sm:basis-full">Which is better?</span>
          <button type="button" className="button" aria-disabled={isClosed} onClick={() => give("left")}>
            {name(left, "Left")}{" "}
            <kbd className="kbd max-sm:hidden" aria-hidden>
              a
            </kbd>
          </button>
          <button type="button" className="button" aria-disabled={isClosed} onClick={() => give("tie")}>
            No difference{" "}
            <kbd className="kbd max-sm:hidden" aria-hidden>
              t
            </kbd>
          </button>
          <button type="button" className="button" aria-disabled={isClosed} onClick={() => give("right")}>
            {name(right, "Right")}{" "}
            <kbd className="kbd max-sm:hidden" aria-hidden>
              b
            </kbd>
          </button>
        </div>
        {isSuccess && (
          <p role="status" className="text-sm text-good-ink">
            Vote saved{!named && `: left was ${left.variant.toUpperCase()}, right was ${right.variant.toUpperCase()}`}.
          </p>
        )}
        <p className="figures text-sm text-soft sm:ml-auto">
          {leftIds.join() === rightIds.join()
            ? "Both lists are the same"
            : `${formatShare(overlap(leftIds, rightIds))} of the products are in both`}
        </p>
      </div>
      {vote.error && (
        <div role="alert" className="mb-3 rounded-lg bg-bad px-4 py-2 text-sm text-bad-ink">
          The vote was not saved: {vote.error.message}
          {vote.error instanceof ApiError && vote.error.kind === "locked" && (
            <ApiKeyPrompt onSaved={() => vote.variables && mutate(vote.variables)} />
          )}
        </div>
      )}
      <div className="grid grid-cols-2 gap-2 sm:grid-cols-[1fr_3.5rem_1fr] sm:gap-0">
        <Column
          side={left}
          hidden={hidden}
          place="Left"
          moves={moves(leftIds, rightIds)}
          marked={marked}
          onMark={setMarked}
        />
        <Lines left={leftIds} right={rightIds} rows={rows} marked={marked} />
        <Column
          side={right}
          hidden={hidden}
          place="Right"
          moves={moves(rightIds, leftIds)}
          marked={marked}
          onMark={setMarked}
        />
      </div>
      <div className="mt-3 flex flex-wrap justify-between gap-3">
        <EsciLegend />
        <Link to={`/?${serialise({ ...state, why: null })}`} className="link text-sm">
          Open as a search, with explanations
        </Link>
      </div>
    </section>
  );
}

const ROW_PX = 80;
const HEAD_PX = 48;

function Column({
  side,
  hidden,
  place,
  moves: places,
  marked,
  onMark,
}: {
  side: Side;
  hidden: boolean;
  place: "Left" | "Right";
  moves: Move[];
  marked: string | null;
  onMark: (id: string | null) => void;
}) {
  const version = useVersion();
  const described =
    version.data?.variants.find((one) => one.variant === side.variant)?.description ?? side.answer.versions.model_name;
  const { results, no_answer } = side.answer;
  return (
    <section className="min-w-0" aria-label={hidden ? place : `Variant ${side.variant.toUpperCase()}`}>
      <h2 className="flex flex-col justify-center text-sm leading-tight" style={{ height: HEAD_PX }}>
        {hidden ? (
          place
        ) : (
          <span className={side.variant === "a" ? "text-variant-a" : "text-variant-b"}>
            Variant {side.variant.toUpperCase()}
          </span>
        )}
        {!hidden && (
          <span className="truncate text-xs font-normal text-soft" title={described}>
            {described}
          </span>
        )}
      </h2>
      {results.length === 0 ? (
        <p className="panel px-4 py-3 text-sm">{no_answer?.message ?? "No answer."}</p>
      ) : (
        <ol className="panel overflow-hidden">
          {results.map((result, at) => (
            <Row
              key={result.product_id}
              result={result}
              move={places[at] ?? { kind: "same" }}
              isMarked={marked === result.product_id}
              onMark={onMark}
              requestId={side.answer.request_id}
            />
          ))}
        </ol>
      )}
    </section>
  );
}

function Row({
  result,
  move,
  isMarked,
  onMark,
  requestId,
}: {
  result: Result;
  move: Move;
  isMarked: boolean;
  onMark: (id: string | null) => void;
  requestId: string;
}) {
  const click = useFeedback();
  return (
    <li
      data-product={result.product_id}
      style={{ height: ROW_PX }}
      className={`flex items-center gap-1.5 border-line px-1.5 not-first:border-t sm:gap-2.5 sm:px-3 ${isMarked ? "bg-accent-soft" : ""}`}
      onMouseEnter={() => onMark(result.product_id)}
      onMouseLeave={() => onMark(null)}
      onFocus={() => onMark(result.product_id)}
      onBlur={() => onMark(null)}
    >
      <div className="flex w-9 shrink-0 flex-col max-sm:w-7 items-center">
        <span className="figures text-sm text-soft">{result.rank}</span>
        <MoveMark move={move} />
      </div>
      <Picture src={result.image} alt="" className="size-8 sm:size-16" />
      <div className="min-w-0 flex-1">
        <Link
          to={`/p/${encodeURIComponent(result.product_id)}`}
          className="line-clamp-2 text-sm leading-snug font-medium hover:underline max-sm:text-xs"
          dir="auto"
          data-title
          title={result.title}
          state={{ requestId, position: result.rank } satisfies FromAnswer}
          onClick={() =>
            click.mutate({ request_id: requestId, kind: "click", product_id: result.product_id, position: result.rank })
          }
        >
          {result.title}
        </Link>
        <div className="mt-1 flex items-center gap-2">
          <span className="figures text-xs font-semibold" title="Expected ESCI gain, 0 to 1">
            <span className="sr-only">score </span>
            {formatScore(result.score)}
          </span>
          <span className="max-w-64 min-w-0 flex-1 max-md:hidden">
            <EsciBar probabilities={result.probabilities} predicted={result.predicted} />
          </span>
        </div>
      </div>
    </li>
  );
}

function MoveMark({ move }: { move: Move }) {
  if (move.kind === "same") return <span className="sr-only">same position in both</span>;
  if (move.kind === "only")
    return <span className="rounded-sm bg-warn px-1 text-xs font-medium text-warn-ink">only</span>;
  const up = move.kind === "up";
  return (
    <span className={`figures text-xs font-medium ${up ? "text-good-ink" : "text-bad-ink"}`}>
      <span aria-hidden>
        {up ? "▲" : "▼"}
        {move.by}
      </span>
      <span className="sr-only">
        {move.by} places {up ? "higher" : "lower"} here
      </span>
    </span>
  );
}

/** Lines from each product's position on the left to its position on the right. */
function Lines({
  left,
  right,
  rows,
  marked,
}: {
  left: string[];
  right: string[];
  rows: number;
  marked: string | null;
}) {
  const middle = (place: number) => HEAD_PX + place * ROW_PX + ROW_PX / 2;
  const height = HEAD_PX + rows * ROW_PX;
  return (
    <svg aria-hidden viewBox={`0 0 56 ${height}`} width="56" height={height} className="max-sm:hidden" fill="none">
      {links(left, right).map(({ id, from, to }) => (
        <path
          key={id}
          d={`M2 ${middle(from)} C 28 ${middle(from)}, 28 ${middle(to)}, 54 ${middle(to)}`}
          className={marked === id ? "stroke-accent" : from === to ? "stroke-line" : "stroke-edge"}
          strokeWidth={marked === id ? 3 : 1.25}
          strokeOpacity={marked !== null && marked !== id ? 0.35 : 1}
        />
      ))}
    </svg>
  );
}
