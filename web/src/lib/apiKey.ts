/** The key for writes, where the service wants one. Kept for this tab alone. */
const NAME = "sqidflow.api-key";

/** Whether a header can carry a key: printable ASCII. A browser throws at anything else, before anything is sent. */
export function isSendable(key: string): boolean {
  return /^[ -~]+$/.test(key);
}

export const apiKey = {
  /** The kept key, or "" where there is none that can be sent. */
  get(): string {
    try {
      const kept = sessionStorage.getItem(NAME) ?? "";
      return isSendable(kept) ? kept : "";
    } catch {
      return "";
    }
  },
  set(key: string): void {
    try {
      sessionStorage.setItem(NAME, key);
    } catch {
      // Storage is forbidden: the key has to be typed again, which is all that is lost.
    }
  },
};
