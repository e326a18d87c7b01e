"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), windows = read("windows");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  let chosen = null; // number of the trial that is highlighted in the curves

  // ---- plots ----

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** Returns a part of a figure with the page's colours in place of their names, "var(--name)". */
  function coloured(value, part = "") {
    if (typeof value === "string") return /color$/.test(part) ? value.replace(/^var\((--\w+)\)$/, (_, name) => colour(name)) : value;
    if (Array.isArray(value)) return value.map((inner) => coloured(inner, part));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner, key)]));
    return value;
  }

  const AXIS = {
    showgrid: true, gridcolor: "var(--grid)", zeroline: true, zerolinecolor: "var(--line)", showline: true, linecolor: "var(--line)",
    automargin: true,
  };
  const TEMPLATE = { layout: {
    font: { color: "var(--ink)", family: "system-ui, sans-serif", size: 13 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 60, r: 16, t: 12, b: 48 },
    hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: AXIS,
    yaxis: AXIS,
  } };
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  function draw(name) {
    drawn.add(name);
    const { data, layout } = coloured(figures[name]);
    layout.template = coloured(TEMPLATE);
    if (name === "curves" && chosen !== null) choose(data, layout);
    return Plotly.react(document.getElementById(name), data, layout, CONFIG);
  }

  /** Draws the curve of the chosen trial over the others, and shades its window. */
  function choose(data, layout) {
    const x = [], y = [];
    for (const trace of data) {
      if (trace.mode !== "lines+markers") continue;
      trace.customdata.forEach((number, i) => { if (number === chosen) { x.push(trace.x[i]); y.push(trace.y[i]); } });
    }
    data.push({ type: "scatter", mode: "lines+markers", name: "selected: trial " + chosen, x, y, line: { width: 4, color: colour("--ink") } });
    const window = windows[chosen], [shape] = layout.shapes || [];
    layout.shapes = window && shape ? [{ ...shape, x0: window[0] - 0.5, x1: window[1] + 0.5 }] : [];
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target.id); }
  }, { rootMargin: "400px" });
  for (const name of Object.keys(figures)) near.observe(document.getElementById(name));

  const redraw = () => drawn.forEach(draw);
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); Object.keys(figures).forEach(draw); });
  addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); redraw(); });

  // ---- the table ----

  const body = document.querySelector("#table tbody"), rows = [...body.rows];
  const heads = [...document.querySelectorAll("#table thead th")];

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  }

  /** Compares cells: numbers come before text, and empty cells last in both directions. */
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
  }

  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    rows.sort((a, b) => compare(key(a, column), key(b, column), descending ? -1 : 1));
    body.append(...rows);
  }));

  const find = document.getElementById("find"), arm = document.getElementById("arm"), status = document.getElementById("status");
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const shown = words.every((word) => text.includes(word)) && (!arm.value || row.dataset.arm === arm.value)
        && (!status.value || row.dataset.status === status.value);
      row.hidden = !shown;
      count += shown;
    }
    document.getElementById("count").textContent = count + (count === 1 ? " trial" : " trials");
  }
  for (const field of [find, arm, status]) field.addEventListener("input", filter);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

  body.addEventListener("click", (event) => {
    const button = event.target.closest(".trial");
    if (!button || !figures.curves) return;
    const number = Number(button.textContent);
    chosen = chosen === number ? null : number;
    for (const other of body.querySelectorAll(".trial")) other.setAttribute("aria-pressed", String(Number(other.textContent) === chosen));
    draw("curves");
    if (chosen !== null) document.getElementById("curves-title").scrollIntoView({ block: "start" });
  });
})();
