// The theme puts a <nav> without a name into every code block, which screen readers would list as landmarks of the page.
new MutationObserver(() => {
  for (const nav of document.querySelectorAll("nav.md-code__nav:not([role])")) nav.setAttribute("role", "presentation");
}).observe(document.documentElement, { childList: true, subtree: true });
// Tables and code that are wider than their place are scrolled by keyboard, too, and an empty cell is no heading.
const mendParts = () => {
  for (const cell of document.querySelectorAll(".md-content th")) {
    if (cell.textContent.trim() || cell.children.length) continue;
    const plain = document.createElement("td");
    for (const { name, value } of cell.attributes) if (name !== "scope") plain.setAttribute(name, value);
    cell.replaceWith(plain);
  }
  const parts = ".md-typeset__scrollwrap, .md-content pre, .md-content pre > code, .highlight-ipynb, .jp-OutputArea-output";
  for (const part of document.querySelectorAll(parts)) {
    if (part.scrollWidth > part.clientWidth && !part.hasAttribute("tabindex")) part.tabIndex = 0;
  }
};
addEventListener("resize", mendParts);
addEventListener("load", () => {
  mendParts();
  let asked = 0; // the theme wraps tables when they come into sight
  new MutationObserver(() => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(mendParts);
  }).observe(document.querySelector(".md-content") || document.body, { childList: true, subtree: true });
});
