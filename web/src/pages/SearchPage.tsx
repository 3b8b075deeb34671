import { useCallback, useEffect, useRef } from "react";
import { Link } from "react-router";
import { useFacets, useProduct, useSearch, useSimilar } from "../api/queries";
import { Failure } from "../components/Failure";
import { Filters } from "../components/Filters";
import { Picture } from "../components/Picture";
import { Results, Skeleton } from "../components/Results";
import { SearchBox } from "../components/SearchBox";
import { SimilarList } from "../components/SimilarList";
import { formatCount } from "../lib/format";
import { JUDGEMENTS } from "../lib/judgements";
import { address, isIdle, type SearchState } from "../lib/searchState";
import { useSearchState } from "../lib/useSearchState";
import { useSlow } from "../lib/useSlow";
import { useTitle } from "../lib/useTitle";

export function SearchPage() {
  const [state, update] = useSearchState();
  const search = useSearch(state);
  const slow = useSlow(search.isFetching);
  const asksForFocus = useRef(false);
  const isNew = search.data !== undefined && !search.isPlaceholderData && !search.isFetching;
  useEffect(() => {
    // After a search was sent: by keyboard its results are next, not the filters.
    if (!isNew || !asksForFocus.current) return;
    asksForFocus.current = false;
    focusResults();
  }, [isNew]);
  useTitle(state.query || (state.like ? "More like this" : state.picture ? "By picture" : "Search"));
  const onSearch = useCallback(
    (asked: { query: string; picture: string | null }) => {
      asksForFocus.current = true;
      update({ ...asked, like: null, why: null, verbatim: false });
    },
    [update],
  );
  return (
    <>
      <h1 className="sr-only">Product search</h1>
      {!isIdle(state) && (
        <button
          type="button"
          className="button sr-only focus:not-sr-only focus:mb-2 focus:inline-flex"
          onClick={focusResults}
        >
          Skip to the results
        </button>
      )}
      <div className="mb-4">
        <SearchBox state={state} onSearch={onSearch} label="Products" />
      </div>
      {isIdle(state) ? (
        <Start />
      ) : state.like ? (
        <MoreLike productId={state.like} k={state.k} />
      ) : (
        <div className="flex flex-col gap-4 lg:flex-row lg:items-start">
          <Filters
            state={state}
            update={update}
            cutoff={state.threshold === null ? (search.data?.cutoff ?? undefined) : undefined}
            counted={search.data?.facets}
          />
          <section aria-label="Answer" aria-busy={search.isFetching} className="min-w-0 flex-1">
            {search.error ? (
              <Failure error={search.error} kept="Your search is kept." onRetry={() => void search.refetch()}>
                {state.picture && <RemovePicture state={state} update={update} />}
              </Failure>
            ) : search.data ? (
              <div className={search.isPlaceholderData ? "opacity-60 transition-opacity delay-150" : ""}>
                {slow && (
                  <p role="status" className="mb-2 rounded-lg bg-warn px-4 py-2 text-sm text-warn-ink">
                    This takes longer than usual. The results below are of the previous search.
                  </p>
                )}
                <Results answer={search.data} state={state} update={update} />
              </div>
            ) : (
              <Skeleton rows={Math.min(state.k, 8)} slow={slow} />
            )}
          </section>
        </div>
      )}
    </>
  );
}

function focusResults(): void {
  document.getElementById("results")?.focus();
}

function RemovePicture({ state, update }: { state: SearchState; update: (patch: Partial<SearchState>) => void }) {
  return (
    <button type="button" className="button mt-2 mr-2" onClick={() => update({ picture: null })}>
      {state.query ? "Search by words only" : "Remove the picture"}
    </button>
  );
}

/** Before a search: the catalogue, and example queries and pictures. */
function Start() {
  const facets = useFacets();
  if (facets.error) return <Failure error={facets.error} onRetry={() => void facets.refetch()} />;
  if (!facets.data)
    return (
      <p role="status" className="text-sm text-soft">
        Loading the catalogue.
      </p>
    );
  const { products, with_picture, synthetic, sample_queries, sample_pictures } = facets.data;
  return (
    <div className="grid gap-x-10 gap-y-6 pt-2 md:grid-cols-[3fr_2fr]">
      <div className="space-y-6">
        <p className="max-w-prose">
          Search this catalogue by words, by a picture, or by both: a model ranks what fits best first, says why, and
          says so when nothing fits.
        </p>
        {sample_queries.length > 0 && (
          <section>
            <h2 className="mb-2 text-base">Example queries</h2>
            <ul className="panel divide-y divide-line">
              {sample_queries.map((query) => (
                <li key={query}>
                  <Link
                    to={address("/", { query })}
                    className="block px-3 py-2 text-base hover:bg-accent-soft"
                    dir="auto"
                  >
                    {query}
                  </Link>
                </li>
              ))}
            </ul>
          </section>
        )}
      </div>
      <div className="space-y-6">
        {sample_pictures.length > 0 && (
          <section>
            <h2 className="mb-2 text-base">Example pictures</h2>
            <ul className="flex flex-wrap gap-2">
              {sample_pictures.map((picture, place) => (
                <li key={picture}>
                  <Link
                    to={address("/", { picture })}
                    className="block rounded-md border border-line p-1 hover:border-accent"
                  >
                    <Picture src={picture} alt={`Search with sample picture ${place + 1}`} className="size-16" />
                  </Link>
                </li>
              ))}
            </ul>
            <p className="mt-2 text-sm text-soft">
              To use your own, choose a file, drop it anywhere on this page, or paste it. It is sent only to this
              server.
            </p>
          </section>
        )}
        <section className="text-sm">
          <h2 className="mb-1 text-base">How results are judged: E, S, C, I</h2>
          <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-0.5">
            {JUDGEMENTS.map(({ label, word, means, fill }) => (
              <div key={label} className="contents">
                <dt className="flex items-center gap-1.5">
                  <span aria-hidden className={`graphic size-2.5 rounded-sm ${fill}`} />
                  {word}
                </dt>
                <dd className="text-soft">{means}</dd>
              </div>
            ))}
          </dl>
          <p className="mt-2">
            A and B are two variants of this search.{" "}
            <Link to="/compare" className="link">
              Compare
            </Link>{" "}
            shows both, and votes decide which is better.
          </p>
        </section>
        <section className="text-sm">
          <h2 className="mb-1 text-base">The catalogue</h2>
          <p>
            {formatCount(products)} products, {formatCount(with_picture)} with a picture.
          </p>
          {synthetic && (
            <p className="mt-2 rounded-lg bg-warn px-3 py-2 text-warn-ink">
              <strong className="font-semibold">Synthetic sample.</strong> Products, pictures and judgements are
              invented. It shows that the search works, and says nothing about a real shop.
            </p>
          )}
        </section>
      </div>
    </div>
  );
}

function MoreLike({ productId, k }: { productId: string; k: number }) {
  const product = useProduct(productId);
  const similar = useSimilar(productId, k);
  return (
    <section aria-label="Similar products">
      <div className="mb-3 flex flex-wrap items-center gap-3">
        {product.data && <Picture src={product.data.image} alt="" className="size-16" eager />}
        <div className="min-w-0">
          <h2 className="text-base">More like this</h2>
          <p className="text-sm">
            <Link to={`/p/${encodeURIComponent(productId)}`} className="link" dir="auto">
              {product.data?.title ?? productId}
            </Link>
          </p>
        </div>
      </div>
      <SimilarList query={similar} />
    </section>
  );
}
