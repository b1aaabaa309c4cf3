// Tables of class "sortable": a click on a heading sorts, a text filters the rows, and of long
// tables the first rows are shown until more are asked for.
(() => {
  const FIRST_ROWS = 20;
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };
  const compare = (a, b) => a.localeCompare(b, undefined, { numeric: true });

  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0], rows = [...body.rows];
    const tools = document.createElement("p");
    tools.className = "tools";
    const filter = document.createElement("input");
    filter.type = "search";
    filter.placeholder = "Filter";
    filter.setAttribute("aria-label", "Filter the rows of this table");
    const more = document.createElement("button");
    more.type = "button";
    const count = document.createElement("span");
    count.className = "soft";
    tools.append(filter, count, more);
    table.parentElement.before(tools);
    let all = false;

    function update() {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = [...body.rows].filter((row) => {
        const text = row.textContent.toLowerCase();
        return words.every((word) => text.includes(word));
      });
      const visible = new Set(all ? found : found.slice(0, FIRST_ROWS));
      rows.forEach((row) => { row.hidden = !visible.has(row); });
      count.textContent = `${visible.size} of ${rows.length} rows`;
      more.hidden = visible.size === found.length;
      more.textContent = `Show all ${found.length}`;
    }

    function sortBy(heading, column) {
      const down = heading.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const isNumber = rows.every((row) => {
        const cell = value(row, column);
        return cell === null || Number.isFinite(Number(cell));
      });
      rows.sort((first, second) => {
        const [a, b] = [value(first, column), value(second, column)];
        if (a === null || b === null) return (a === null) - (b === null); // empty ones last
        const order = isNumber ? a - b : compare(a, b);
        return down ? -order : order;
      });
      body.append(...rows);
      update();
    }

    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.tabIndex = 0;
      heading.addEventListener("click", () => sortBy(heading, column));
      heading.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          sortBy(heading, column);
        }
      });
    });
    filter.addEventListener("input", update);
    more.addEventListener("click", () => { all = true; update(); });
    tools.hidden = rows.length < 8;
    update();
  });
})();
