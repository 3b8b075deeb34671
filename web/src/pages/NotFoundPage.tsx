import { Link, useLocation } from "react-router";
import { useTitle } from "../lib/useTitle";

export function NotFoundPage() {
  const { pathname } = useLocation();
  useTitle("Not found");
  return (
    <section className="panel px-5 py-6">
      <h1 className="text-base">There is no page at {pathname}</h1>
      <p className="mt-2 text-sm">
        <Link to="/" className="link">
          Back to search
        </Link>
      </p>
    </section>
  );
}
