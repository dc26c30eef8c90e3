"use strict";
// Tables: a click on a heading sorts by its column, a search box keeps the rows whose names contain its text.
(() => {
  const keyOf = (cell) => {
    const text = cell.textContent.trim();
    const number = Number(cell.dataset.v ?? (text === "" ? NaN : text));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // what is no number comes last
    return a.localeCompare(b, undefined, { numeric: true });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const isDown = head.getAttribute("aria-sort") === "descending";
        // Numbers begin with the largest, names with the first.
        const isFirst = !head.hasAttribute("aria-sort");
        const sign = (isFirst ? !head.classList.contains("n") : isDown) ? 1 : -1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
        const isText = ({ key }) => typeof key !== "number";
        const numbers = rows.filter((one) => !isText(one)).sort((a, b) => sign * compare(a.key, b.key));
        const texts = rows.filter(isText).sort((a, b) => sign * compare(a.key, b.key));
        body.append(...[...numbers, ...texts].map(({ row }) => row));
      });
    });
  }

  for (const input of document.querySelectorAll("input[type=search]")) {
    const body = document.getElementById(input.dataset.table).tBodies[0];
    const isName = (cell, k) => k === 0 || !cell.classList.contains("n");
    const namesOf = (row) => [...row.cells].filter(isName).map((cell) => cell.textContent.toLowerCase());
    const said = input.parentElement.querySelector(".found");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let found = 0;
      for (const row of body.rows) {
        row.hidden = !namesOf(row).some((name) => name.includes(wanted));
        found += !row.hidden;
      }
      said.textContent = wanted ? `${found} of ${body.rows.length} rows` : "";
    });
  }
})();
