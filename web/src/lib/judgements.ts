import type { Label } from "../api/client";

/** The four ESCI judgements, best first, with their words, colours and keys. */
export const JUDGEMENTS = [
  { label: "E", word: "exact", means: "Matches the query.", fill: "bg-exact", key: "1" },
  {
    label: "S",
    word: "substitute",
    means: "Does not match fully, but could replace a match.",
    fill: "bg-substitute",
    key: "2",
  },
  { label: "C", word: "complement", means: "Goes together with a match.", fill: "bg-complement", key: "3" },
  { label: "I", word: "irrelevant", means: "Does not relate to the query.", fill: "bg-irrelevant", key: "4" },
] as const satisfies readonly { label: Label; word: string; means: string; fill: string; key: string }[];
