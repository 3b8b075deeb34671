import type { Schemas } from "../api/client";

/** An interval on a common scale: a line from low to high, a mark at the mean. */
export function IntervalMark({
  interval,
  from,
  to,
  className = "bg-accent",
}: {
  interval: Schemas["Interval"];
  from: number;
  to: number;
  className?: string;
}) {
  const place = (value: number) => `${(100 * (value - from)) / Math.max(to - from, Number.EPSILON)}%`;
  return (
    <span aria-hidden className="relative block h-3 min-w-24">
      <span className="graphic absolute inset-x-0 top-1/2 h-px bg-line" />
      <span
        className={`graphic absolute top-1/2 h-0.5 -translate-y-1/2 ${className}`}
        style={{ left: place(interval.low), right: `calc(100% - ${place(interval.high)})` }}
      />
      <span
        className={`graphic absolute top-1/2 size-2 -translate-1/2 rounded-full ${className}`}
        style={{ left: place(interval.mean) }}
      />
    </span>
  );
}
