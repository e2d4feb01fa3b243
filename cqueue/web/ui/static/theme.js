// Dark or light, before anything is painted. A plain script: modules run too late for that.
(() => {
  "use strict";
  const KEY = "cqueue.theme";
  const CHOICES = ["auto", "light", "dark"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "auto";
  try {
    chosen = CHOICES.find((choice) => choice === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    // A browser that keeps nothing for this page still shows it.
  }

  function apply() {
    const isDark = chosen === "auto" ? dark.matches : chosen === "dark";
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    dispatchEvent(new Event("theme"));
  }

  dark.addEventListener("change", apply);
  window.theme = {
    get chosen() {
      return chosen;
    },
    /** Go on to the next choice. */
    turn() {
      chosen = CHOICES[(CHOICES.indexOf(chosen) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, chosen);
      } catch {
        // As above.
      }
      apply();
    },
  };
  apply();
})();
