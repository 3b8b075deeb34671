import { expect, test } from "vitest";
import { links, moves, overlap } from "./moves";

test("a product stands higher, lower, at the same place or in one list only", () => {
  expect(moves(["x", "b", "a", "new"], ["x", "a", "c", "b"])).toEqual([
    { kind: "same" },
    { kind: "up", by: 2 },
    { kind: "down", by: 1 },
    { kind: "only" },
  ]);
});

test("lines join the places of what is in both", () => {
  expect(links(["a", "b", "c"], ["c", "a"])).toEqual([
    { id: "a", from: 0, to: 1 },
    { id: "c", from: 2, to: 0 },
  ]);
});

test("overlap is both over either", () => {
  expect(overlap(["a", "b"], ["b", "c"])).toBeCloseTo(1 / 3);
  expect(overlap([], [])).toBe(1);
  expect(overlap(["a"], [])).toBe(0);
});
