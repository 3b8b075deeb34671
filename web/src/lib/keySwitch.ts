/** Whether single keys are shortcuts. Kept in this browser. */
const NAME = "sqidflow.keys";
let off: boolean | null = null;

export function keysAreOn(): boolean {
  if (off === null) {
    try {
      off = localStorage.getItem(NAME) === "off";
    } catch {
      off = false;
    }
  }
  return !off;
}

export function switchKeys(on: boolean): void {
  off = !on;
  try {
    if (on) localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, "off");
  } catch {
    // Storage is not allowed: the choice lasts as long as the page.
  }
}
