/** How a product's place in one list compares with its place in another. */
export type Move = { kind: "same" } | { kind: "up" | "down"; by: number } | { kind: "only" };

/** The move of each product of `list`, seen from `other`: "up" stands higher here. Lists of ids, best first. */
export function moves(list: readonly string[], other: readonly string[]): Move[] {
  const places = new Map(other.map((id, place) => [id, place]));
  return list.map((id, place) => {
    const there = places.get(id);
    if (there === undefined) return { kind: "only" };
    if (there === place) return { kind: "same" };
    return there > place ? { kind: "up", by: there - place } : { kind: "down", by: place - there };
  });
}

/** Lines between the two lists: places of each product that is in both. */
export function links(left: readonly string[], right: readonly string[]): { id: string; from: number; to: number }[] {
  const places = new Map(right.map((id, place) => [id, place]));
  return left.flatMap((id, from) => {
    const to = places.get(id);
    return to === undefined ? [] : [{ id, from, to }];
  });
}

/** Share of the products that both lists have: |both| / |either|, 1 for two empty lists. */
export function overlap(left: readonly string[], right: readonly string[]): number {
  const either = new Set([...left, ...right]).size;
  return either === 0 ? 1 : links(left, right).length / either;
}
