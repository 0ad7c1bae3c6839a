"use strict";
// Without this file the page is whole: it only sorts tables and takes dead links away.

// A cell's number, or its text in lower case; null where it is missing.
function keyOf(cell, numeric) {
  if (numeric) return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  const text = cell.textContent.trim();
  return text === "" || text === "–" ? null : text;
}

function sortBy(table, headers, column) {
  const header = headers[column];
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of headers) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const numeric = !header.classList.contains("text");
  const rows = Array.from(table.tBodies[0].rows, row => ({ row, key: keyOf(row.cells[column], numeric) }));
  rows.sort((one, other) => {
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
    const order = numeric ? one.key - other.key : one.key.localeCompare(other.key, undefined, { numeric: true });
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  const headers = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  headers.forEach((header, column) => {
    header.tabIndex = 0;
    header.setAttribute("aria-sort", "none");
    header.addEventListener("click", () => sortBy(table, headers, column));
    header.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault(); // the space bar would scroll
      sortBy(table, headers, column);
    });
  });
}

// Sent alone, the page is no longer in the folder from which its links lead to the run's files.
function folderOfPage() {
  const folder = location.pathname.split("/").slice(-2)[0];
  try {
    return decodeURIComponent(folder);
  } catch {
    return folder;
  }
}

if (folderOfPage() !== document.documentElement.dataset.folder) {
  for (const link of document.querySelectorAll("a.file")) {
    const text = document.createElement("span");
    text.className = "file";
    text.append(...link.childNodes);
    link.replaceWith(text);
  }
}
