import { describe, expect, test } from "vitest";
import { address, EMPTY, filterCount, parse, type SearchState, serialise } from "./searchState";

const FULL: SearchState = {
  query: "café & crème 50%",
  picture: "/v1/product/image?id=B0X",
  like: "B0Y",
  k: 50,
  threshold: 0,
  brand: ["A, B", "C"],
  color: ["Red"],
  withPicture: true,
  filters: ["price:10..20", "category:Home & Garden", "a:b:c"],
  sort: "price:desc",
  from: 20,
  verbatim: true,
  why: "B0Z",
};

describe("the address of a search", () => {
  test("says everything and is read back", () => {
    expect(parse(new URLSearchParams(serialise(FULL).toString()))).toEqual(FULL);
  });

  test.each(["SKU 12/3", "gid://shopify/Product/9", "it's 100% (new)!"])("takes the picture of product %j", (id) => {
    for (const picture of [
      `/v1/product/image?id=${encodeURIComponent(id)}`,
      `/products/${encodeURIComponent(id)}/image`,
    ]) {
      const search = address("/", { picture, like: id, why: id }).slice(2);
      expect(parse(new URLSearchParams(search))).toEqual({ ...EMPTY, picture, like: id, why: id });
    }
  });

  test("leaves out what is usual", () => {
    expect(address("/", {})).toBe("/");
    expect(address("/", { query: "red shoes", k: 10 })).toBe("/?q=red+shoes");
  });

  test.each([
    ["k=0", "k"],
    ["k=101", "k"],
    ["k=ten", "k"],
    ["k=1.5", "k"],
    ["t=2", "threshold"],
    ["t=-1", "threshold"],
    ["t=x", "threshold"],
    ["t=", "threshold"],
    ["from=-1", "from"],
    ["from=1000", "from"],
    ["from=x", "from"],
    ["sort=price", "sort"],
    ["sort=:asc", "sort"],
    ["picture=https://elsewhere.example/x.png", "picture"],
    ["picture=//elsewhere.example/x.png", "picture"],
    ["picture=javascript:alert(1)", "picture"],
    ["picture=/%5Celsewhere.example/x.png", "picture"],
    ["picture=/%09/elsewhere.example/x.png", "picture"],
    ["picture=/v1/search_a?query=x", "picture"],
    ["picture=/v1/product/image?id=a%26b=c", "picture"],
    ["picture=upload:..%2F", "picture"],
  ] as const)("takes the usual value for %s", (search, key) => {
    expect(parse(new URLSearchParams(search))[key]).toBe(EMPTY[key]);
  });

  test("leaves out what is no filter", () => {
    expect(parse(new URLSearchParams("filter=x&filter=:y&filter=a:&filter=a:1")).filters).toEqual(["a:1"]);
  });

  test("counts the filters", () => {
    expect(filterCount(EMPTY)).toBe(0);
    expect(filterCount(FULL)).toBe(8);
  });
});
