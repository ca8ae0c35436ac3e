// The theme puts a <nav> without a name into every code block, which screen readers would list as landmarks of the page.
new MutationObserver(() => {
  for (const nav of document.querySelectorAll("nav.md-code__nav:not([role])")) nav.setAttribute("role", "presentation");
}).observe(document.documentElement, { childList: true, subtree: true });
