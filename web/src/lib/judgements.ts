import type { Label } from "../api/client";

/** The four ESCI judgements, best first: one home of their words, colours and keys. */
export const JUDGEMENTS = [
  { label: "E", word: "exact", means: "It is what was asked for.", fill: "bg-exact", key: "1" },
  { label: "S", word: "substitute", means: "Not quite, but it would do.", fill: "bg-substitute", key: "2" },
  { label: "C", word: "complement", means: "It goes with what was asked for.", fill: "bg-complement", key: "3" },
  { label: "I", word: "irrelevant", means: "It has nothing to do with it.", fill: "bg-irrelevant", key: "4" },
] as const satisfies readonly { label: Label; word: string; means: string; fill: string; key: string }[];
