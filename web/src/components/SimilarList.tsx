import type { UseQueryResult } from "@tanstack/react-query";
import { useRef } from "react";
import { Link } from "react-router";
import type { Schemas } from "../api/client";
import { address } from "../lib/searchState";
import { useListKeys } from "../lib/useListKeys";
import { Failure } from "./Failure";
import { Picture } from "./Picture";

/** Neighbours of a product, nearest first, as tiles. */
export function SimilarList({ query }: { query: UseQueryResult<Schemas["SimilarResponse"]> }) {
  const list = useRef<HTMLOListElement>(null);
  useListKeys(list);
  if (query.error) return <Failure error={query.error} onRetry={() => void query.refetch()} />;
  if (!query.data)
    return (
      <p role="status" className="text-sm text-soft">
        Loading similar products.
      </p>
    );
  if (query.data.results.length === 0) return <p className="text-sm text-soft">There are no similar products.</p>;
  return (
    <ol
      ref={list}
      aria-label="Similar products"
      className="grid grid-cols-[repeat(auto-fill,minmax(9.5rem,1fr))] gap-3"
    >
      {query.data.results.map((product) => (
        <li
          key={product.product_id}
          data-product={product.product_id}
          className="panel flex flex-col gap-2 p-3 focus-within:border-accent"
        >
          <Picture src={product.image} alt="" className="mx-auto aspect-square w-32 max-w-full" />
          <h3 className="line-clamp-2 text-sm font-medium">
            <Link to={`/p/${encodeURIComponent(product.product_id)}`} className="hover:underline" dir="auto" data-title>
              {product.title}
            </Link>
          </h3>
          <p className="text-xs text-soft" dir="auto">
            {[product.brand, product.color].filter(Boolean).join(" · ")}
          </p>
          <p className="mt-auto flex items-center justify-between text-xs text-soft">
            <span className="figures" title="Cosine of both vectors' blend">
              cosine {product.similarity.toFixed(2)}
            </span>
            <Link
              to={address("/", { like: product.product_id })}
              className="link relative z-10 inline-flex min-h-6 min-w-6 items-center"
              data-key="m"
              aria-label={`More like ${product.title}`}
            >
              more
            </Link>
          </p>
        </li>
      ))}
    </ol>
  );
}
