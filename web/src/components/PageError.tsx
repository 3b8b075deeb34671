import { useRouteError } from "react-router";

/** Shown if a page cannot be rendered, instead of an empty window. */
export function PageError() {
  const error = useRouteError();
  return (
    <section role="alert" className="rounded-lg bg-bad px-4 py-3 text-sm">
      <h1 className="text-base text-bad-ink">This page could not be shown</h1>
      <p>{error instanceof Error ? error.message : "The service returned an answer of an unexpected form."}</p>
      <p className="mt-2">
        <button type="button" className="button" onClick={() => window.location.reload()}>
          Reload
        </button>
      </p>
    </section>
  );
}
