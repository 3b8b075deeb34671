// Runs before the first paint. A separate file, because the content security policy allows no inline script.
try {
  var theme = localStorage.getItem("sqidflow.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch (_) {
  // Storage may not be allowed; the system's theme is used then.
}
