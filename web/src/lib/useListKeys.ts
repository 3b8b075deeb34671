import { type RefObject, useEffect } from "react";
import { isTaken } from "./keys";

/**
 * While the focus is in a list, j and k move through its products, and other keys click the focused product's button
 * with that data-key.
 */
export function useListKeys(list: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isTaken(event) || !list.current?.contains(document.activeElement)) return;
      const rows = [...list.current.querySelectorAll<HTMLElement>("[data-product]")];
      const at = rows.findIndex((row) => row.contains(document.activeElement));
      if (event.key === "j" || event.key === "k") {
        const next = rows[at === -1 ? 0 : Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), rows.length - 1)];
        next?.querySelector<HTMLElement>("[data-title]")?.focus();
        next?.scrollIntoView({ block: "nearest" });
        event.preventDefault();
      } else if (at !== -1 && /^[wm1-4]$/.test(event.key)) {
        rows[at]?.querySelector<HTMLElement>(`[data-key="${event.key}"]`)?.click();
        event.preventDefault();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [list]);
}
