import { type ReactNode, useEffect, useRef, useState } from "react";

/** A table that may be wider than its place: then it scrolls, and a line above it says so. */
export function ScrollTable({
  label,
  className = "",
  children,
}: {
  label: string;
  className?: string;
  children: ReactNode;
}) {
  const frame = useRef<HTMLElement>(null);
  const [wider, setWider] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const measure = () => setWider(element.scrollWidth > element.clientWidth + 1);
    measure();
    if (typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return (
    <>
      {wider && (
        <p className="px-4 pb-1 text-xs text-soft">
          More columns are to the right: scroll the table sideways <span aria-hidden>→</span>
        </p>
      )}
      <section ref={frame} className={`relative overflow-x-auto ${className}`} tabIndex={0} aria-label={label}>
        {children}
      </section>
    </>
  );
}
