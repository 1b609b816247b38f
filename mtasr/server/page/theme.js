// Before anything is painted: the colours that the user has chosen here, or else those of the system.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => { try { return localStorage.getItem("mtasr-theme"); } catch { return null; } };
  const apply = () => { document.documentElement.dataset.theme = chosen() ?? (dark.matches ? "dark" : "light"); };
  dark.addEventListener("change", apply);
  apply();
})();
