import type { ReactNode } from "react";
import { ApiError } from "../api/client";

const TITLES: Record<ApiError["kind"], string> = {
  unreachable: "The search service is not responding",
  slow: "The search service takes too long",
  garbage: "The service returned an unexpected answer",
  broken: "The search service failed",
  not_ready: "The search service is not ready yet",
  busy: "Too many requests",
  locked: "The service requires an API key",
  missing: "Not found",
  refused: "The service rejected the request",
  picture_gone: "The picture is no longer available",
};

interface Props {
  error: unknown;
  /** Says which input of the user is kept. */
  kept?: string;
  onRetry?: () => void;
  children?: ReactNode;
}

/** Shows what failed, what is kept, and what happens next. */
export function Failure({ error, kept, onRetry, children }: Props) {
  const known = error instanceof ApiError ? error : null;
  return (
    <section role="alert" className="rounded-lg bg-bad px-4 py-3 text-sm">
      <h2 className="text-base text-bad-ink">{known ? TITLES[known.kind] : "Something went wrong"}</h2>
      <p>{error instanceof Error ? error.message : String(error)}</p>
      {known?.passing && (
        <p className="mt-1">
          {kept ? `${kept} ` : ""}Retrying automatically every {Math.round(known.retryAfterMs / 1000)} seconds.
        </p>
      )}
      {children}
      {onRetry && (
        <button type="button" className="button mt-2" onClick={onRetry}>
          Try now
        </button>
      )}
    </section>
  );
}
