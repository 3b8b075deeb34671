import { type ReactNode, useEffect, useId, useState } from "react";
import type { Schemas } from "../api/client";
import { useFacets } from "../api/queries";
import { formatCount } from "../lib/format";
import { EMPTY, filterCount, K_CHOICES, type SearchState } from "../lib/searchState";
import { Checkbox } from "./Checkbox";

const SHOWN = 8;
const SETTLED_MS = 250;

interface Props {
  state: SearchState;
  update: (patch: Partial<SearchState>) => void;
  /** The cut-off of the current answer, if there is one. */
  cutoff: number | undefined;
}

export function Filters({ state, update, cutoff }: Props) {
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
        <Threshold value={state.threshold} cutoff={cutoff} onChange={(threshold) => update({ threshold })} />
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
              facets={facets.data.colors}
              chosen={state.color}
              onChange={(color) => update({ color })}
            />
            <FacetList
              title="Brand"
              facets={facets.data.brands}
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
        {count > 0 && (
          <div className="px-3 py-2">
            <button
              type="button"
              className="button button-quiet -ml-2"
              onClick={() =>
                update({ brand: [], color: [], withPicture: EMPTY.withPicture, threshold: EMPTY.threshold })
              }
            >
              Clear filters
            </button>
          </div>
        )}
      </div>
    </section>
  );
}

function Threshold({
  value,
  cutoff,
  onChange,
}: {
  value: number | null;
  cutoff: number | undefined;
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
          Calibrated cut-off
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
  products,
  checked,
  onChange,
}: {
  value: string;
  products?: number;
  checked: boolean;
  onChange: () => void;
}) {
  return (
    <li>
      <Checkbox className="py-0.5" checked={checked} onChange={onChange}>
        <span className="min-w-0 flex-1 truncate" title={value} dir="auto">
          {value}
        </span>
        {products !== undefined && <span className="figures text-xs text-soft">{formatCount(products)}</span>}
      </Checkbox>
    </li>
  );
}
