/** A random id of this browser, sent with feedback so that one person counts once. It says nothing about the person. */
const NAME = "sqidflow.client";
const VALID = /^[A-Za-z0-9-]{8,64}$/;
let own: string | null = null;

export function browserId(): string {
  if (own !== null) return own;
  // Not randomUUID: a page that is not served from this machine or by https has none.
  const fresh = [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  try {
    const kept = localStorage.getItem(NAME) ?? "";
    own = VALID.test(kept) ? kept : fresh;
    localStorage.setItem(NAME, own);
  } catch {
    own = fresh; // Storage is not allowed: the id lasts as long as the page.
  }
  return own;
}
