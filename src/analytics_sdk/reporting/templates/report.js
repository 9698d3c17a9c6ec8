"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      if (a.cells[column].dataset.kind === "number") return Number(value(a)) - Number(value(b));
      return value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0;
    };
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const down = now === "none" ? head.classList.contains("number") : now === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      const known = rows.filter((row) => value(row) !== "").sort((a, b) => down ? compare(b, a) : compare(a, b));
      table.tBodies[0].append(...known, ...rows.filter((row) => value(row) === ""));
    });
  });
}
