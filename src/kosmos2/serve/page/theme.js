// Light or dark, before anything is painted: what was chosen here last, else what the system says.
(() => {
  const root = document.documentElement;
  let kept = null;
  try { kept = localStorage.getItem("kosmos2-theme"); } catch { /* storage is off: follow the system */ }
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
})();
