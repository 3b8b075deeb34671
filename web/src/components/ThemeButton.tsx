import { useState } from "react";

const NAME = "sqidflow.theme";
const NEXT = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT;
const GLYPHS: Record<Theme, string> = {
  system: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Zm0 1.5v9a4.5 4.5 0 0 1 0-9Z",
  light:
    "M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM7.3 1h1.4v2H7.3V1Zm0 12h1.4v2H7.3v-2ZM1 7.3h2v1.4H1V7.3Zm12 0h2v1.4h-2V7.3Z",
  dark: "M6.2 1.8a6.5 6.5 0 1 0 8 8 5.5 5.5 0 0 1-8-8Z",
};

function current(): Theme {
  const theme = document.documentElement.dataset.theme;
  return theme === "light" || theme === "dark" ? theme : "system";
}

export function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(current);
  const choose = () => {
    const next = NEXT[theme];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(NAME, next);
    } catch {
      // Storage is not allowed: the choice lasts as long as the page.
    }
    setTheme(next);
  };
  return (
    <button
      type="button"
      className="button button-quiet"
      onClick={choose}
      aria-label={`Theme: ${theme}. Change to ${NEXT[theme]}`}
      title={`Theme: ${theme}`}
    >
      <svg viewBox="0 0 16 16" width="16" height="16" fill="currentColor" fillRule="evenodd" aria-hidden>
        <path d={GLYPHS[theme]} />
      </svg>
    </button>
  );
}
