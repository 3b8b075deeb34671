export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} bytes`;
  const [unit, size] = bytes < 1_000_000 ? (["kB", 1_000] as const) : (["MB", 1_000_000] as const);
  return `${(Math.round((bytes / size) * 10) / 10).toLocaleString("en")} ${unit}`;
}

export function formatCount(count: number): string {
  return count.toLocaleString("en");
}

/** 0.824 -> "82 %". A positive share that rounds to 0 is "<1 %". */
export function formatShare(share: number): string {
  const percent = Math.round(share * 100);
  return percent === 0 && share > 0 ? "<1 %" : `${percent} %`;
}

export function formatScore(score: number): string {
  return score.toFixed(3);
}

export function formatMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** "+0.031", "−0.004": a true minus, as wide as the plus. */
export function formatSigned(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

export function formatTime(iso: string): string {
  const time = new Date(iso);
  return Number.isNaN(time.getTime())
    ? iso
    : time.toLocaleString("en-GB", {
        year: "numeric",
        month: "short",
        day: "numeric",
        hour: "2-digit",
        minute: "2-digit",
      });
}

export function short(id: string, length = 10): string {
  return id.length > length + 1 ? `${id.slice(0, length)}…` : id;
}
