/**
 * A random id of this browser, sent with searches and feedback so that one person counts once. It says nothing about
 * the person, and after some days the browser takes another. A visit has an id too, which no storage keeps.
 */
const NAME = "sqidflow.client";
const SINCE = "sqidflow.client-since";
const VALID = /^[A-Za-z0-9-]{8,64}$/;
const DAY_MS = 86_400_000;
let own: { id: string; since: number } | null = null;
let days = 30;
let visit: string | null = null;

/** How long an id is used, as the service has it set. */
export function rotateAfter(value: number): void {
  if (Number.isFinite(value) && value > 0) days = value;
}

export function randomId(): string {
  // Not randomUUID: a page that is not served from this machine or by https has none.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function browserId(now = Date.now()): string {
  own ??= stored(now);
  const age = now - own.since;
  if (age >= 0 && age <= days * DAY_MS) return own.id;
  own = { id: randomId(), since: now }; // too old, or from a clock that was set back
  keep(own);
  return own.id;
}

export function sessionId(): string {
  visit ??= randomId();
  return visit;
}

function stored(now: number): { id: string; since: number } {
  let kept = { id: "", since: Number.NaN };
  try {
    kept = { id: localStorage.getItem(NAME) ?? "", since: Number(localStorage.getItem(SINCE) ?? Number.NaN) };
  } catch {
    // Storage is not allowed: the id lasts as long as the page.
  }
  // An id of an earlier version has no date: its days begin now.
  const found = {
    id: VALID.test(kept.id) ? kept.id : randomId(),
    since: Number.isFinite(kept.since) ? kept.since : now,
  };
  keep(found);
  return found;
}

function keep({ id, since }: { id: string; since: number }): void {
  try {
    localStorage.setItem(NAME, id);
    localStorage.setItem(SINCE, String(since));
  } catch {
    // As above.
  }
}
