import { useState } from "react";
import { onService } from "../api/address";

/** Pictures up to this width are drawings: they are enlarged without smoothing. */
const DRAWN_PX = 128;

interface Props {
  /** Path on the service; null if the product has no picture. */
  src: string | null;
  alt: string;
  /** Classes that set the tile's size. */
  className: string;
  eager?: boolean;
}

/** A picture in a tile of fixed size. A missing or unreadable one is a tile of the same size. */
export function Picture({ src, alt, className, eager = false }: Props) {
  const [failed, setFailed] = useState<string | null>(null);
  const [drawn, setDrawn] = useState(false);
  if (src === null || failed === src) {
    return (
      <span
        role="img"
        aria-label={src === null ? "No picture" : "The picture could not be shown"}
        className={`${className} flex shrink-0 items-center justify-center rounded-md bg-sunken text-soft`}
      >
        <svg
          viewBox="0 0 24 24"
          className="w-2/5 max-w-10"
          fill="none"
          stroke="currentColor"
          strokeWidth="1.5"
          aria-hidden
        >
          <rect x="3" y="4.5" width="18" height="15" rx="1.5" />
          <path d="m3.5 17 5-5 4 4 3-3 5 4.5M4 21 20 3" />
        </svg>
      </span>
    );
  }
  return (
    <img
      src={onService(src)}
      alt={alt}
      loading={eager ? "eager" : "lazy"}
      decoding="async"
      className={`${className} shrink-0 rounded-md bg-sunken object-contain ${drawn ? "[image-rendering:pixelated]" : ""}`}
      onLoad={(event) => setDrawn(event.currentTarget.naturalWidth <= DRAWN_PX)}
      onError={() => setFailed(src)}
    />
  );
}
