/** The API key for writes, if the service requires one. Kept only for this tab. */
const NAME = "sqidflow.api-key";

/** Whether a header can contain a key: printable ASCII. A browser throws on anything else. */
export function isSendable(key: string): boolean {
  return /^[ -~]+$/.test(key);
}

export const apiKey = {
  /** The stored key, or "" if there is none that can be sent. */
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
      // Storage is not allowed: the key must be typed again.
    }
  },
};
