"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const isNumber = head.classList.contains("number");
      const now = head.getAttribute("aria-sort");
      const down = now === "none" ? isNumber : now === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value;
      const number = (row) => { const found = value(row); return found === "" ? -Infinity : Number(found); };
      const compare = (a, b) => {
        if (!row_is_number(a, column)) return value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0;
        const x = number(a), y = number(b);
        return x < y ? -1 : x > y ? 1 : 0;
      };
      const rows = [...table.tBodies[0].rows].sort(compare);
      if (down) rows.reverse();
      table.tBodies[0].append(...rows);
    });
  });
}
function row_is_number(row, column) { return row.cells[column].dataset.kind === "number"; }
