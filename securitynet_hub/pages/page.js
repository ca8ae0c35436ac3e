"use strict";
// The page is whole without this: it adds sorting, searching, and opens everything for print.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...[...heading.childNodes].filter((node) => node.nodeName !== "svg"));
    heading.prepend(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last, either way
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return down ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare));
    });
  });
}
for (const tools of document.querySelectorAll(".tools")) {
  const input = tools.querySelector("input");
  const rows = [...document.querySelectorAll("table.filtered tbody tr")];
  const models = [...document.querySelectorAll("details.model")];
  const holds = (element) => element.textContent.toLowerCase().includes(input.value.trim().toLowerCase());
  const filter = () => {
    for (const row of rows) row.hidden = !holds(row);
    for (const model of models) model.hidden = !holds(model.querySelector("summary"));
    const counted = rows.filter((row) => !row.closest("details"));
    const left = counted.filter((row) => !row.hidden);
    tools.querySelector("[role=status]").textContent = `${left.length} of ${counted.length}`;
  };
  input.addEventListener("input", filter);
  tools.hidden = false;
  for (const place of document.querySelectorAll("[data-find]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Show these models";
    button.append(...place.childNodes);
    place.append(button);
    button.addEventListener("click", () => {
      input.value = place.dataset.find;
      filter();
      input.focus();
    });
  }
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
