import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, test } from "vitest";
import type { Schemas } from "../api/client";
import { answer, FACETS, open, result, serve } from "../test/service";

const KNOWN: Schemas["AttributeInfo"][] = [
  { name: "brand", kind: "string", unit: null, facet: true, sortable: false },
  { name: "price", kind: "number", unit: "EUR", facet: true, sortable: true },
  { name: "category", kind: "string", unit: null, facet: true, sortable: false },
  { name: "in_stock", kind: "boolean", unit: null, facet: true, sortable: false },
  { name: "released", kind: "date", unit: null, facet: true, sortable: true },
];
const COUNTED: Schemas["FacetCounts"][] = [
  {
    name: "brand",
    kind: "string",
    unit: null,
    products: 2,
    values: [{ value: "Ulmo", products: 2, selected: false }],
    least: null,
    most: null,
  },
  { name: "price", kind: "number", unit: "EUR", products: 9, values: [], least: 5.5, most: 90 },
  {
    name: "category",
    kind: "string",
    unit: null,
    products: 9,
    values: [
      { value: "Home", products: 6, selected: false },
      { value: "Shoes", products: 3, selected: false },
    ],
    least: null,
    most: null,
  },
  {
    name: "in_stock",
    kind: "boolean",
    unit: null,
    products: 9,
    values: [
      { value: true, products: 7, selected: false },
      { value: false, products: 2, selected: false },
    ],
    least: null,
    most: null,
  },
  { name: "released", kind: "date", unit: null, products: 9, values: [], least: "2024-01-01", most: "2024-03-01" },
];
const ATTRIBUTES = { price: 1299.5, category: "Home", in_stock: true };
const PAGE = { facets: COUNTED, total: 25, offset: 0, next_offset: 10 };

function shop(patch: Partial<Parameters<typeof answer>[1]> = {}) {
  return serve({
    "/v1/facets": { ...FACETS, attributes: KNOWN },
    "/v1/predict": answer([result(1, { attributes: ATTRIBUTES })], { ...PAGE, ...patch }),
  });
}

const bodies = (calls: ReturnType<typeof serve>) =>
  calls.filter((call) => call.path === "/v1/predict").map((call) => call.body as Schemas["SearchRequest"]);

describe("facets of the answer", () => {
  test("a value is chosen by keyboard, asked for, and stands in the address", async () => {
    const calls = shop();
    const page = open("/?q=red");
    const group = await screen.findByRole("group", { name: "Category" });
    const home = within(group).getByRole("checkbox", { name: "Home 6" });
    home.focus();
    await userEvent.keyboard(" ");
    await waitFor(() => expect(page.address()).toBe("/?q=red&filter=category%3AHome"));
    await userEvent.click(within(group).getByRole("checkbox", { name: "Shoes 3" }));
    await waitFor(() =>
      expect(bodies(calls).at(-1)?.filters?.attributes).toEqual({ category: { any: ["Home", "Shoes"] } }),
    );
    expect(screen.getByRole("checkbox", { name: "Ulmo 2" })).not.toBeChecked();
    await userEvent.click(screen.getByRole("button", { name: "Clear filters" }));
    expect(page.address()).toBe("/?q=red");
  });

  test("a range is applied by Enter and by leaving it, and refused backwards", async () => {
    const calls = shop();
    const page = open("/?q=red");
    const from = await screen.findByRole("spinbutton", { name: "Price from (EUR)" });
    expect(from).toHaveAttribute("placeholder", "5.5");
    await userEvent.type(from, "10{Enter}");
    await waitFor(() => expect(page.address()).toBe("/?q=red&filter=price%3A10.."));
    await userEvent.type(screen.getByRole("spinbutton", { name: "Price to (EUR)" }), "60");
    await userEvent.tab();
    await waitFor(() => expect(page.address()).toBe("/?q=red&filter=price%3A10..60"));
    await waitFor(() => expect(bodies(calls).at(-1)?.filters?.attributes).toEqual({ price: { any: ["10..60"] } }));
    await userEvent.type(screen.getByRole("spinbutton", { name: "Price from (EUR)" }), "0{Enter}");
    expect(screen.getByRole("alert")).toHaveTextContent("“From” is above “to”.");
    expect(page.address()).toBe("/?q=red&filter=price%3A10..60");
  });

  test("yes and no", async () => {
    shop();
    const page = open("/?q=red");
    const group = await screen.findByRole("group", { name: "In stock" });
    await userEvent.click(within(group).getByRole("checkbox", { name: "Yes 7" }));
    await waitFor(() => expect(page.address()).toBe("/?q=red&filter=in_stock%3Atrue"));
  });

  test("what the address asks for can be taken back where the answer does not name it", async () => {
    shop({ facets: [] });
    const page = open("/?q=red&filter=size:42");
    await userEvent.click(await screen.findByRole("checkbox", { name: "42" }));
    await waitFor(() => expect(page.address()).toBe("/?q=red"));
  });
});

describe("order and pages", () => {
  test("an order is chosen, and begins at the first page", async () => {
    const calls = shop();
    const page = open("/?q=red&from=10");
    const sort = await screen.findByRole("combobox", { name: "Sort by" });
    expect(
      within(sort)
        .getAllByRole("option")
        .map((option) => option.textContent),
    ).toEqual([
      "Best match",
      "Price, lowest first",
      "Price, highest first",
      "Released, newest first",
      "Released, oldest first",
    ]);
    await userEvent.selectOptions(sort, "Price, lowest first");
    expect(page.address()).toBe("/?q=red&sort=price%3Aasc");
    await waitFor(() => expect(bodies(calls).at(-1)).toMatchObject({ sort: "price:asc", offset: 0 }));
  });

  test("the next page and back", async () => {
    const calls = shop();
    const page = open("/?q=red");
    const pages = await screen.findByRole("navigation", { name: "Pages of results" });
    expect(pages).toHaveTextContent("1 to 1 of 25");
    expect(within(pages).getByRole("button", { name: "Previous page" })).toBeDisabled();
    await userEvent.click(within(pages).getByRole("button", { name: "Next page" }));
    expect(page.address()).toBe("/?q=red&from=10");
    await waitFor(() => expect(bodies(calls).at(-1)).toMatchObject({ offset: 10 }));
  });

  test("a whole answer has no pages", async () => {
    shop({ total: 1, next_offset: null });
    open("/?q=red");
    await screen.findByRole("link", { name: "Product 1" });
    expect(screen.queryByRole("navigation", { name: "Pages of results" })).toBeNull();
  });
});

test("a result and a product show their attributes", async () => {
  serve({
    "/v1/facets": { ...FACETS, attributes: KNOWN },
    "/v1/predict": answer([result(1, { attributes: ATTRIBUTES })], PAGE),
  });
  open("/?q=red");
  const row = (await screen.findByRole("link", { name: "Product 1" })).closest("li") as HTMLElement;
  await waitFor(() => expect(row).toHaveTextContent("1,299.50 EUR"));
  expect(row).toHaveTextContent("Category Home");
  expect(row).toHaveTextContent("In stock Yes");
});
