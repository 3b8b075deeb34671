/** Attributes of products: filters as they stand in the address ("price:10..20"), names and values for people. */
import type { Schemas } from "../api/client";

export type Kind = Schemas["AttributeInfo"]["kind"];
export const RELEVANCE = "relevance";
const RANGE = "..";

export interface Range {
  least: string;
  most: string;
}

/** "in_stock" as "In stock". */
export function attributeTitle(name: string): string {
  if (name === "color") return "Colour";
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function formatValue(value: string | number | boolean, unit?: string | null): string {
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (typeof value === "string") return value;
  const digits = unit ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumFractionDigits: 6 };
  return `${value.toLocaleString("en", digits)}${unit ? ` ${unit}` : ""}`;
}

/** Name and value of a filter; null for what is none. */
export function splitFilter(filter: string): { name: string; value: string } | null {
  const at = filter.indexOf(":");
  const name = filter.slice(0, at).trim();
  const value = filter.slice(at + 1).trim();
  return at > 0 && name && value ? { name, value } : null;
}

export function valuesOf(filters: string[], name: string): string[] {
  return filters.flatMap((filter) => {
    const split = splitFilter(filter);
    return split?.name === name ? [split.value] : [];
  });
}

/** The filters with `values` as the only ones of an attribute. */
export function withValues(filters: string[], name: string, values: string[]): string[] {
  return [
    ...filters.filter((filter) => splitFilter(filter)?.name !== name),
    ...values.map((value) => `${name}:${value}`),
  ];
}

export function rangeOf(filters: string[], name: string): Range {
  const value = valuesOf(filters, name)[0] ?? "";
  const [least = "", most = ""] = value.includes(RANGE) ? value.split(RANGE, 2) : [value, value];
  return { least, most };
}

export function withRange(filters: string[], name: string, { least, most }: Range): string[] {
  return withValues(filters, name, least || most ? [`${least}${RANGE}${most}`] : []);
}

/** Filters as the service takes them in JSON: values by attribute. */
export function attributeFilters(filters: string[]): Record<string, { any: string[] }> {
  const out: Record<string, { any: string[] }> = {};
  for (const filter of filters) {
    const split = splitFilter(filter);
    if (!split) continue;
    const own = out[split.name] ?? { any: [] };
    own.any.push(split.value);
    out[split.name] = own;
  }
  return out;
}

/** The orders that an attribute offers, in words. */
export function ordersOf({ name, kind }: { name: string; kind: Kind }): { sort: string; label: string }[] {
  const [up, down] = kind === "date" ? ["oldest first", "newest first"] : ["lowest first", "highest first"];
  const orders = [
    { sort: `${name}:asc`, label: `${attributeTitle(name)}, ${up}` },
    { sort: `${name}:desc`, label: `${attributeTitle(name)}, ${down}` },
  ];
  return kind === "date" ? orders.reverse() : orders;
}
