/** The difference between a product's positions in two lists. */
export type Move = { kind: "same" } | { kind: "up" | "down"; by: number } | { kind: "only" };

/** The move of each product of `list` relative to `other`: "up" means higher in `list`. Lists of ids, best first. */
export function moves(list: readonly string[], other: readonly string[]): Move[] {
  const places = new Map(other.map((id, place) => [id, place]));
  return list.map((id, place) => {
    const otherPlace = places.get(id);
    if (otherPlace === undefined) return { kind: "only" };
    if (otherPlace === place) return { kind: "same" };
    return otherPlace > place ? { kind: "up", by: otherPlace - place } : { kind: "down", by: place - otherPlace };
  });
}

/** Positions of each product that is in both lists. */
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
