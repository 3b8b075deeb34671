import { useRouteError } from "react-router";

/** What is left when a page cannot be drawn: never an empty window. */
export function PageError() {
  const error = useRouteError();
  return (
    <section role="alert" className="rounded-lg bg-bad px-4 py-3 text-sm">
      <h1 className="text-base text-bad-ink">This page could not be shown</h1>
      <p>{error instanceof Error ? error.message : "An answer did not have the shape that was agreed on."}</p>
      <p className="mt-2">
        <button type="button" className="button" onClick={() => window.location.reload()}>
          Load it again
        </button>
      </p>
    </section>
  );
}
