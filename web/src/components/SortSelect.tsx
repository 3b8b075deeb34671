import { useId } from "react";
import { useFacets } from "../api/queries";
import { ordersOf, RELEVANCE } from "../lib/attributes";

/** The order of the results, where the catalogue has anything to sort by. */
export function SortSelect({ value, onChange }: { value: string; onChange: (sort: string) => void }) {
  const facets = useFacets();
  const id = useId();
  const orders = (facets.data?.attributes ?? []).filter((each) => each.sortable).flatMap(ordersOf);
  if (orders.length === 0 && value === RELEVANCE) return null;
  const known = value === RELEVANCE || orders.some((order) => order.sort === value);
  return (
    <span className="flex items-center gap-2 text-sm">
      <label htmlFor={id}>Sort by</label>
      <select id={id} className="field" value={value} onChange={(event) => onChange(event.target.value)}>
        <option value={RELEVANCE}>Best match</option>
        {!known && <option value={value}>{value}</option>}
        {orders.map(({ sort, label }) => (
          <option key={sort} value={sort}>
            {label}
          </option>
        ))}
      </select>
    </span>
  );
}
