import { describe, expect, test } from "vitest";
import {
  attributeFilters,
  attributeTitle,
  formatValue,
  ordersOf,
  rangeOf,
  valuesOf,
  withRange,
  withValues,
} from "./attributes";

describe("attributes", () => {
  test("have names and values for people", () => {
    expect(attributeTitle("in_stock")).toBe("In stock");
    expect(attributeTitle("color")).toBe("Colour");
    expect(formatValue(1299.5, "EUR")).toBe("1,299.50 EUR");
    expect(formatValue(4.5)).toBe("4.5");
    expect(formatValue(false)).toBe("No");
  });

  test("values of one are replaced, others stay", () => {
    const filters = ["category:Home", "price:1..2", "category:A: B"];
    expect(valuesOf(filters, "category")).toEqual(["Home", "A: B"]);
    expect(withValues(filters, "category", ["Shoes"])).toEqual(["price:1..2", "category:Shoes"]);
  });

  test.each([
    ["price:10..20", { least: "10", most: "20" }],
    ["price:10..", { least: "10", most: "" }],
    ["price:..20", { least: "", most: "20" }],
    ["price:15", { least: "15", most: "15" }],
    ["other:1..2", { least: "", most: "" }],
  ])("the range of %s", (filter, range) => {
    expect(rangeOf([filter], "price")).toEqual(range);
  });

  test("an empty range is no filter", () => {
    expect(withRange(["price:1..2", "a:b"], "price", { least: "", most: "" })).toEqual(["a:b"]);
    expect(withRange([], "price", { least: "", most: "9.5" })).toEqual(["price:..9.5"]);
  });

  test("go to the service by name", () => {
    expect(attributeFilters(["a:x", "a:y", "price:1..", "nothing", ":z"])).toEqual({
      a: { any: ["x", "y"] },
      price: { any: ["1.."] },
    });
  });

  test("offer their orders, of dates the newest first", () => {
    expect(ordersOf({ name: "price", kind: "number" }).map((each) => each.label)).toEqual([
      "Price, lowest first",
      "Price, highest first",
    ]);
    expect(ordersOf({ name: "released", kind: "date" })[0]).toEqual({
      sort: "released:desc",
      label: "Released, newest first",
    });
  });
});
