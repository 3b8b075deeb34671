import type { Schemas } from "../api/client";
import { formatShare } from "../lib/format";
import { JUDGEMENTS } from "../lib/judgements";

/** The probabilities of the four judgements as one bar, with a text alternative. */
export function EsciBar({ probabilities, predicted }: Pick<Schemas["Result"], "probabilities" | "predicted">) {
  const said = JUDGEMENTS.map(({ label, word }) => `${word} ${formatShare(probabilities[label])}`).join(", ");
  // The model's own rule: a rare judgement may be predicted though another is more probable.
  const first = JUDGEMENTS.find(({ label }) => label === predicted) ?? JUDGEMENTS[0];
  return (
    <span className="flex items-center gap-2" title={said}>
      <span role="img" aria-label={said} className="graphic flex h-2 w-full min-w-16 gap-px overflow-hidden rounded-sm">
        {JUDGEMENTS.map(({ label, fill }) => (
          <span key={label} className={`graphic ${fill}`} style={{ flexGrow: probabilities[label], flexBasis: 0 }} />
        ))}
      </span>
      <span aria-hidden className="figures w-[5.5rem] shrink-0 text-xs whitespace-nowrap text-soft">
        {first.word} {formatShare(probabilities[first.label])}
      </span>
    </span>
  );
}

export function EsciLegend() {
  return (
    <ul aria-label="Colour legend of the judgements" className="flex flex-wrap gap-x-3 gap-y-1 text-xs text-soft">
      {JUDGEMENTS.map(({ label, word, fill, means }) => (
        <li key={label} className="flex items-center gap-1.5" title={means}>
          <span aria-hidden className={`graphic size-2.5 rounded-sm ${fill}`} />
          {word}
        </li>
      ))}
    </ul>
  );
}
