import { type ReactNode, useEffect, useId, useState } from "react";
import type { Schemas } from "../api/client";
import { useFacets } from "../api/queries";
import { attributeTitle, formatValue, RELEVANCE, rangeOf, valuesOf, withRange, withValues } from "../lib/attributes";
import { formatCount } from "../lib/format";
import { filterCount, K_CHOICES, type SearchState, UNFILTERED } from "../lib/searchState";
import { Checkbox } from "./Checkbox";
import { RangeFilter } from "./RangeFilter";

const SHOWN = 8;
const SETTLED_MS = 250;

interface Props {
  state: SearchState;
  update: (patch: Partial<SearchState>) => void;
  /** The cut-off of the current answer, if there is one. */
  cutoff: number | undefined;
  /** What the products of the current answer have; without it the whole catalogue's colours and brands are offered. */
  counted?: Schemas["FacetCounts"][] | undefined;
}

export function Filters({ state, update, cutoff, counted = [] }: Props) {
  const facets = useFacets();
  const [open, setOpen] = useState(false);
  const id = useId();
  const count = filterCount(state);
  return (
    <section aria-label="Filters" className="panel text-sm lg:w-56 lg:shrink-0">
      <button
        type="button"
        className="flex w-full items-center justify-between px-3 py-2 font-medium lg:hidden"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        Filters{count > 0 && ` (${count})`}
        <span aria-hidden>{open ? "−" : "+"}</span>
      </button>
      <div id={id} className={`${open ? "" : "max-lg:hidden"} divide-y divide-line max-lg:border-t max-lg:border-line`}>
        <div className="flex items-center justify-between px-3 py-2.5">
          <label htmlFor={`${id}-k`}>Maximum results</label>
          <select
            id={`${id}-k`}
            className="field"
            value={state.k}
            onChange={(event) => update({ k: Number(event.target.value) })}
          >
            {[...new Set([...K_CHOICES, state.k])]
              .sort((a, b) => a - b)
              .map((k) => (
                <option key={k}>{k}</option>
              ))}
          </select>
        </div>
        <Threshold
          value={state.threshold}
          cutoff={cutoff}
          sorted={state.sort !== RELEVANCE}
          onChange={(threshold) => update({ threshold })}
        />
        <Checkbox
          className="px-3 py-2.5"
          checked={state.withPicture}
          onChange={(withPicture) => update({ withPicture })}
        >
          Only with a picture
        </Checkbox>
        {facets.data ? (
          <>
            <FacetList
              title="Colour"
              facets={ofAnswer(counted, "color") ?? facets.data.colors}
              chosen={state.color}
              onChange={(color) => update({ color })}
            />
            <FacetList
              title="Brand"
              facets={ofAnswer(counted, "brand") ?? facets.data.brands}
              chosen={state.brand}
              onChange={(brand) => update({ brand })}
            />
          </>
        ) : (
          <>
            <Chosen title="Colour" chosen={state.color} onChange={(color) => update({ color })} />
            <Chosen title="Brand" chosen={state.brand} onChange={(brand) => update({ brand })} />
            <p className="px-3 py-2.5 text-soft">
              {facets.error
                ? "Brands and colours are unavailable while the service is not responding."
                : "Loading brands and colours."}
            </p>
          </>
        )}
        {attributeNames(counted, state.filters).map((name) => (
          <AttributeFacet
            key={name}
            name={name}
            counted={counted.find((facet) => facet.name === name)}
            filters={state.filters}
            onChange={(filters) => update({ filters })}
          />
        ))}
        {count > 0 && (
          <div className="px-3 py-2">
            <button type="button" className="button button-quiet -ml-2" onClick={() => update(UNFILTERED)}>
              Clear filters
            </button>
          </div>
        )}
      </div>
    </section>
  );
}

/** Values of an attribute in the answer as the lists of the catalogue have them; null where the answer has none. */
function ofAnswer(counted: Schemas["FacetCounts"][], name: string): Schemas["Facet"][] | null {
  const values = counted.find((facet) => facet.name === name)?.values ?? [];
  return values.length > 0 ? values.map(({ value, products }) => ({ value: String(value), products })) : null;
}

/** Attributes to filter by: those of the answer, and those in the address that the answer does not name. */
function attributeNames(counted: Schemas["FacetCounts"][], filters: string[]): string[] {
  const own = counted.filter(({ name }) => name !== "brand" && name !== "color");
  const shown = own.filter((facet) => facet.products > 0 || valuesOf(filters, facet.name).length > 0);
  const asked = filters.map((filter) => filter.slice(0, filter.indexOf(":")).trim());
  return [...new Set([...shown.map((facet) => facet.name), ...asked])];
}

/** One attribute: a range of numbers or dates, or its values with how many products of the answer have each. */
function AttributeFacet({
  name,
  counted,
  filters,
  onChange,
}: {
  name: string;
  counted: Schemas["FacetCounts"] | undefined;
  filters: string[];
  onChange: (filters: string[]) => void;
}) {
  const title = attributeTitle(name);
  const chosen = valuesOf(filters, name);
  const change = (values: string[]) => onChange(withValues(filters, name, values));
  if (!counted) return <Chosen title={title} chosen={chosen} onChange={change} />;
  if (counted.kind === "number" || counted.kind === "date") {
    const ends = [counted.least, counted.most].map((end) =>
      end === null ? "" : counted.kind === "date" ? String(end).slice(0, 10) : String(end),
    );
    return (
      <Group title={counted.unit ? `${title}, ${counted.unit}` : title}>
        <RangeFilter
          title={title}
          kind={counted.kind}
          unit={counted.unit}
          value={rangeOf(filters, name)}
          span={{ least: ends[0] ?? "", most: ends[1] ?? "" }}
          onChange={(range) => onChange(withRange(filters, name, range))}
        />
      </Group>
    );
  }
  const facets = counted.values.map(({ value, products }) => ({ value: String(value), products }));
  if (counted.kind === "boolean") {
    return (
      <Group title={title}>
        <ul>
          {facets.map(({ value, products }) => (
            <Choice
              key={value}
              value={value}
              label={formatValue(value === "true")}
              products={products}
              checked={chosen.includes(value)}
              onChange={() =>
                change(chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value])
              }
            />
          ))}
        </ul>
      </Group>
    );
  }
  return <FacetList title={title} facets={facets} chosen={chosen} onChange={change} />;
}

function Threshold({
  value,
  cutoff,
  sorted,
  onChange,
}: {
  value: number | null;
  cutoff: number | undefined;
  sorted: boolean;
  onChange: (value: number | null) => void;
}) {
  const [shown, setShown] = useState(value ?? cutoff ?? 0.5);
  const id = useId();
  useEffect(() => {
    if (value !== null) setShown(value);
  }, [value]);
  useEffect(() => {
    // A slider fires at every step; search only after it has stopped.
    if (value === null || shown === value) return;
    const timer = setTimeout(() => onChange(shown), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [shown, value, onChange]);
  return (
    <div className="px-3 py-2.5">
      <Checkbox
        checked={value === null}
        onChange={(checked) => onChange(checked ? null : Math.round((cutoff ?? 0.5) * 100) / 100)}
      >
        <span>
          {sorted ? "Cut-off for this order" : "Calibrated cut-off"}
          {value === null && cutoff !== undefined && <span className="figures text-soft"> ({cutoff.toFixed(2)})</span>}
        </span>
      </Checkbox>
      {value !== null && (
        <label htmlFor={id} className="mt-2 block">
          <span className="flex justify-between">
            <span>Lowest score</span>
            <output className="figures">{shown.toFixed(2)}</output>
          </span>
          <input
            id={id}
            type="range"
            min="0"
            max="1"
            step="0.01"
            className="mt-1 w-full"
            value={shown}
            onChange={(event) => setShown(Number(event.target.value))}
          />
        </label>
      )}
    </div>
  );
}

function FacetList({
  title,
  facets,
  chosen,
  onChange,
}: {
  title: string;
  facets: Schemas["Facet"][];
  chosen: string[];
  onChange: (chosen: string[]) => void;
}) {
  const [wanted, setWanted] = useState("");
  const [all, setAll] = useState(false);
  const isChosen = (value: string) => chosen.some((one) => one.toLowerCase() === value.toLowerCase());
  const fitting = facets.filter((facet) => facet.value.toLowerCase().includes(wanted.trim().toLowerCase()));
  const listed = all || wanted ? fitting : fitting.filter((facet, place) => place < SHOWN || isChosen(facet.value));
  const unknown = chosen.filter((value) => !facets.some((facet) => facet.value.toLowerCase() === value.toLowerCase()));
  const toggle = (value: string) =>
    onChange(isChosen(value) ? chosen.filter((one) => one.toLowerCase() !== value.toLowerCase()) : [...chosen, value]);
  return (
    <Group title={title}>
      {facets.length > SHOWN && (
        <input
          type="search"
          className="field mb-1.5 w-full"
          placeholder={`Find a ${title.toLowerCase()}`}
          aria-label={`Find a ${title.toLowerCase()}`}
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
      )}
      <ul className="-mx-1 max-h-64 overflow-y-auto px-1">
        {unknown.map((value) => (
          <Choice key={value} value={value} checked onChange={() => toggle(value)} />
        ))}
        {listed.map(({ value, products }) => (
          <Choice
            key={value}
            value={value}
            products={products}
            checked={isChosen(value)}
            onChange={() => toggle(value)}
          />
        ))}
      </ul>
      {listed.length === 0 && <p className="text-soft">No match.</p>}
      {!wanted && facets.length > SHOWN && (
        <button type="button" className="button button-quiet -ml-2" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${formatCount(facets.length)}`}
        </button>
      )}
    </Group>
  );
}

/** The values chosen in the address, while the catalogue's values are not known. */
function Chosen({
  title,
  chosen,
  onChange,
}: {
  title: string;
  chosen: string[];
  onChange: (chosen: string[]) => void;
}) {
  if (chosen.length === 0) return null;
  return (
    <Group title={title}>
      <ul>
        {chosen.map((value) => (
          <Choice key={value} value={value} checked onChange={() => onChange(chosen.filter((one) => one !== value))} />
        ))}
      </ul>
    </Group>
  );
}

function Group({ title, children }: { title: string; children: ReactNode }) {
  return (
    <fieldset className="px-3 py-2.5">
      <legend className="eyebrow float-left mb-1 w-full">{title}</legend>
      <div className="clear-both">{children}</div>
    </fieldset>
  );
}

function Choice({
  value,
  label = value,
  products,
  checked,
  onChange,
}: {
  value: string;
  label?: string;
  products?: number;
  checked: boolean;
  onChange: () => void;
}) {
  return (
    <li>
      <Checkbox className="py-0.5" checked={checked} onChange={onChange}>
        <span className="min-w-0 flex-1 truncate" title={label} dir="auto">
          {label}
        </span>
        {products !== undefined && <span className="figures text-xs text-soft">{formatCount(products)}</span>}
      </Checkbox>
    </li>
  );
}
