import { keysAreOn } from "./keySwitch";

/** Whether a key press belongs to an input field or the browser, and not to the page's shortcuts, or these are switched off. */
export function isTaken(event: KeyboardEvent): boolean {
  if (!keysAreOn()) return true;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return true;
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest("dialog[open]")) return true;
  return target.isContentEditable || target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");
}
