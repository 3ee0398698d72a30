"use strict";
const table = document.querySelector("#issue-table");
if (table) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const words = document.querySelector("#words");
  const group = document.querySelector("#group");
  const flagged = document.querySelector("#flagged");
  const shown = document.querySelector("#shown");

  function filter() {
    const wanted = words.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const visible =
        (!wanted || row.dataset.words.includes(wanted)) &&
        (!group.value || row.dataset.group === group.value) &&
        (!flagged.checked || row.dataset.flag === "1");
      row.hidden = !visible;
      count += visible;
    }
    shown.textContent = count + " of " + rows.length + " rows shown";
  }

  function sortBy(heading) {
    const column = heading.cellIndex;
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const numeric = heading.dataset.kind === "number";
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    rows.sort((a, b) => {
      const order = numeric
        ? Number(key(a)) - Number(key(b))
        : key(a).localeCompare(key(b), undefined, { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...rows);
  }

  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sortBy(heading));
  }
  words.addEventListener("input", filter);
  group.addEventListener("change", filter);
  flagged.addEventListener("change", filter);
  filter();
}
