import { useId } from "react";
import { Link } from "react-router";
import { ApiError, type Label, type Result } from "../api/client";
import { useExplanation, useFacets, useFeedback } from "../api/queries";
import { attributeTitle, formatValue } from "../lib/attributes";
import { formatScore } from "../lib/format";
import { JUDGEMENTS } from "../lib/judgements";
import { address, type SearchState } from "../lib/searchState";
import type { FromAnswer } from "../lib/useView";
import { ApiKeyPrompt } from "./ApiKeyPrompt";
import { EsciBar } from "./EsciBar";
import { Explanation } from "./Explanation";
import { Picture } from "./Picture";

interface Props {
  result: Result;
  requestId: string;
  /** The version of the model that answered; null where both variants did. */
  model: string | null;
  /** The search that it is a result of. */
  state: SearchState;
  /** This browser's earlier judgement of the product for the query. */
  judged: Label | undefined;
  whyOpen: boolean;
  onWhy: () => void;
  /** Shows which variant the product is from. */
  showVariant?: boolean;
}

/** One product of an answer. The list's keys (w, m, 1 to 4) press the buttons marked with data-key. */
export function ResultCard({ result, requestId, model, state, judged, whyOpen, onWhy, showVariant = false }: Props) {
  const click = useFeedback();
  const opened = () =>
    click.mutate({ request_id: requestId, kind: "click", product_id: result.product_id, position: result.rank });
  const whyId = useId(); // a product id can contain spaces, which aria-controls would read as several ids
  return (
    <li className="px-3 py-3 focus-within:bg-accent-soft/40 sm:px-4" data-product={result.product_id}>
      <article
        className="grid grid-cols-[1.25rem_4rem_1fr] gap-x-3 gap-y-2 md:grid-cols-[1.5rem_4rem_1fr_18rem]"
        aria-label={`${result.rank}: ${result.title}`}
      >
        <span className="figures pt-0.5 text-right text-sm text-soft" aria-hidden>
          {result.rank}
        </span>
        <Picture src={result.image} alt="" className="size-16" />
        <div className="min-w-0">
          <h3 className="line-clamp-2 text-base leading-snug font-medium">
            <Link
              to={`/p/${encodeURIComponent(result.product_id)}`}
              state={{ requestId, position: result.rank } satisfies FromAnswer}
              onClick={opened}
              className="hover:underline"
              dir="auto"
              data-title
            >
              {result.title}
            </Link>
          </h3>
          <p className="mt-0.5 flex flex-wrap gap-x-2 text-sm text-soft">
            <span dir="auto">{[result.brand, result.color].filter(Boolean).join(" · ")}</span>
            <span className="font-mono text-xs leading-[1.2rem]">{result.product_id}</span>
            {showVariant && result.variant && (
              <span className={result.variant === "a" ? "text-variant-a" : "text-variant-b"}>
                from variant {result.variant.toUpperCase()}
              </span>
            )}
          </p>
          <AttributeLine attributes={result.attributes ?? {}} />
        </div>
        <div className="col-span-3 max-md:pl-8 md:col-span-1">
          <div className="flex items-center gap-3">
            <span className="figures w-12 text-sm font-semibold" title="Expected ESCI gain, 0 to 1">
              {formatScore(result.score)}
            </span>
            <div className="min-w-0 flex-1">
              <EsciBar probabilities={result.probabilities} predicted={result.predicted} />
            </div>
          </div>
          <div className="relative z-10 mt-1.5 flex flex-wrap items-center gap-x-1">
            <Judge requestId={requestId} productId={result.product_id} position={result.rank} judged={judged} />
            <span className="-mr-2 ml-auto flex shrink-0">
              <button
                type="button"
                className="button button-quiet"
                data-key="w"
                aria-expanded={whyOpen}
                aria-controls={whyId}
                onClick={onWhy}
              >
                Why
              </button>
              <Link to={address("/", { like: result.product_id })} className="button button-quiet" data-key="m">
                More like this
              </Link>
            </span>
          </div>
        </div>
        {whyOpen && (
          <div id={whyId} className="col-span-full rounded-md bg-paper px-3 py-2 md:col-start-2">
            <Why result={result} requestId={requestId} model={model} state={state} />
          </div>
        )}
      </article>
    </li>
  );
}

const LISTED = 6;

/** The first attributes of a product, a price before the others. */
function AttributeLine({ attributes }: { attributes: NonNullable<Result["attributes"]> }) {
  const known = useFacets().data?.attributes ?? [];
  const units = new Map(known.map((each) => [each.name, each.unit]));
  const all = Object.entries(attributes);
  if (all.length === 0) return null;
  const priced = all.filter(([name]) => units.get(name));
  const others = all.filter(([name]) => !units.get(name)).slice(0, LISTED - priced.length);
  return (
    <p className="mt-0.5 flex flex-wrap gap-x-3 text-sm">
      {priced.map(([name, value]) => (
        <span key={name} className="figures font-semibold" title={attributeTitle(name)}>
          {formatValue(value, units.get(name))}
        </span>
      ))}
      {others.map(([name, value]) => (
        <span key={name} dir="auto">
          <span className="text-soft">{attributeTitle(name)}</span> {formatValue(value)}
        </span>
      ))}
    </p>
  );
}

/** The parts of one score; mounted, and so asked for, when it is opened. */
function Why({ result, requestId, model, state }: Pick<Props, "result" | "requestId" | "model" | "state">) {
  const explanation = useExplanation(state, requestId, result.product_id, result.variant ?? "a", model);
  if (explanation.data) return <Explanation explained={explanation.data} />;
  return (
    <p role="status" className="text-sm text-soft">
      {explanation.error ? `No explanation: ${explanation.error.message}` : "Explaining this score."}
    </p>
  );
}

interface JudgeProps {
  requestId: string;
  productId: string;
  position: number;
  judged: Label | undefined;
}

/** A judgement of one product for one query, by a person. */
function Judge({ requestId, productId, position, judged }: JudgeProps) {
  const judge = useFeedback();
  const given = judge.error ? judged : (judge.variables?.label ?? judged);
  return (
    <div className="flex flex-wrap items-center">
      <div role="group" aria-label="Your judgement" className="flex shrink-0 rounded-md border border-line">
        {JUDGEMENTS.map(({ label, word, means, key }) => (
          <button
            key={label}
            type="button"
            data-key={key}
            title={`${word}: ${means}`}
            aria-label={word}
            aria-pressed={given === label}
            onClick={() =>
              judge.mutate({ request_id: requestId, kind: "judgement", product_id: productId, position, label })
            }
            className="size-6 shrink-0 border-line text-xs font-medium text-soft not-first:border-l first:rounded-l-md last:rounded-r-md hover:bg-sunken hover:text-ink focus-visible:relative focus-visible:z-10 aria-pressed:bg-accent aria-pressed:text-on-accent"
          >
            {label}
          </button>
        ))}
      </div>
      {judge.isSuccess && (
        <span role="status" className="ml-2 text-xs text-good-ink">
          saved
        </span>
      )}
      {judge.error && (
        <div role="alert" className="basis-full text-xs text-bad-ink">
          Not saved: {judge.error.message}
          {judge.error instanceof ApiError && judge.error.kind === "locked" && (
            <ApiKeyPrompt onSaved={() => judge.variables && judge.mutate(judge.variables)} />
          )}
        </div>
      )}
    </div>
  );
}
