import { type FormEvent, useEffect, useId, useState } from "react";
import type { Range } from "../lib/attributes";

interface Props {
  title: string;
  kind: "number" | "date";
  unit?: string | null;
  value: Range;
  /** The span of the products that fit, shown where nothing is entered. */
  span: Range;
  onChange: (value: Range) => void;
}

/** Two fields for the ends of a range; Enter, or leaving a field, applies them. */
export function RangeFilter({ title, kind, unit, value, span, onChange }: Props) {
  const id = useId();
  const [shown, setShown] = useState(value);
  const { least, most } = value;
  // Each end by itself: the address follows "from" while somebody already types "to".
  useEffect(() => setShown((now) => ({ ...now, least })), [least]);
  useEffect(() => setShown((now) => ({ ...now, most })), [most]);
  const backwards = shown.least !== "" && shown.most !== "" && isAbove(kind, shown.least, shown.most);
  const apply = (event?: FormEvent) => {
    event?.preventDefault();
    if (!backwards && (shown.least !== least || shown.most !== most)) onChange(shown);
  };
  const field = (end: keyof Range, label: string) => (
    <span className="min-w-0 flex-1">
      <label htmlFor={`${id}-${end}`} className="block text-xs text-soft">
        {label}
      </label>
      <input
        id={`${id}-${end}`}
        type={kind}
        step="any"
        className="field w-full"
        placeholder={span[end]}
        aria-label={`${title} ${label.toLowerCase()}${unit ? ` (${unit})` : ""}`}
        aria-invalid={backwards}
        aria-describedby={backwards ? `${id}-error` : undefined}
        value={shown[end]}
        onChange={(event) => setShown({ ...shown, [end]: event.target.value })}
        onBlur={() => apply()}
      />
    </span>
  );
  return (
    <form onSubmit={apply}>
      <div className={`flex gap-2 ${kind === "date" ? "flex-col" : ""}`}>
        {field("least", "From")}
        {field("most", "To")}
      </div>
      {backwards && (
        <p id={`${id}-error`} role="alert" className="mt-1 text-xs text-bad-ink">
          “From” is above “to”.
        </p>
      )}
      <button type="submit" className="sr-only" tabIndex={-1}>
        Apply {title.toLowerCase()}
      </button>
    </form>
  );
}

function isAbove(kind: "number" | "date", first: string, second: string): boolean {
  return kind === "date" ? first > second : Number(first) > Number(second);
}
