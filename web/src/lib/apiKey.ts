/** The key for writes, where the service wants one. Kept for this tab alone. */
const NAME = "sqidflow.api-key";

export const apiKey = {
  get(): string {
    try {
      return sessionStorage.getItem(NAME) ?? "";
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
