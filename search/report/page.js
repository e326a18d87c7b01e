"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), windows = read("windows");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  const whole = new Set(); // plots that show all results, not the better half
  let chosen = null; // number of the trial that is highlighted in the curves
  let shown = null; // numbers of the trials that pass the filters; null means all
  let boxed = null; // numbers of the trials in the box that was drawn over the parallel axes; null without one

  // ---- plots ----

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** Returns a part of a figure with the page's colours in place of their names, "var(--name)". */
  function coloured(value, part = "") {
    if (typeof value === "string") return /color(scale)?$/.test(part) ? value.replace(/^var\((--\w+)\)$/, (_, name) => colour(name)) : value;
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
    margin: { l: 60, r: 40, t: 12, b: 48 },
    modebar: { orientation: "v" }, // in the right margin, where it covers neither legend nor points
    hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: AXIS,
    yaxis: AXIS,
  } };
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  function draw(name) {
    drawn.add(name);
    const { data, layout } = coloured(figures[name]), place = document.getElementById(name);
    layout.template = coloured(TEMPLATE);
    if (whole.has(name)) delete layout.yaxis.range;
    if (name === "curves" && chosen !== null) choose(data, layout);
    Plotly.react(place, data.map(filtered), layout, CONFIG);
    if (name === "parallel" && !place.dataset.listens) {
      place.dataset.listens = true;
      place.on("plotly_selected", (event) => { if (event && event.points.length) drawBox(event.points); });
      place.on("plotly_deselect", removeBox);
    }
  }

  /** Returns a trace with the trials that pass the filters; null separates lines and stays. */
  function filtered(trace) {
    if (!shown || !trace.meta) return trace;
    if (trace.meta.cells) return { ...trace, z: means(trace) };
    const kept = trace.customdata.map((number) => number === null || shown.has(number));
    const pick = (part) => Object.fromEntries(Object.entries(part).map(([key, value]) => [key,
      Array.isArray(value) && value.length === kept.length ? value.filter((_, i) => kept[i]) : value]));
    return { ...pick(trace), ...(trace.marker && { marker: pick(trace.marker) }) };
  }

  /** Returns the means of a surface over the trials that pass the filters. */
  function means(trace) {
    const sums = trace.z.map((row) => row.map(() => [0, 0]));
    for (const [number, column, row, value] of trace.meta.cells)
      if (shown.has(number)) { sums[row][column][0] += value; sums[row][column][1] += 1; }
    return sums.map((row) => row.map(([sum, count]) => (count ? sum / count : null)));
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

  const forms = [...document.querySelectorAll(".filters")], FIELDS = ["find", "arm", "status"];
  const ofTrials = Object.keys(figures).filter((name) => figures[name].data.some((trace) => trace.meta));
  const numberOf = (row) => Number(row.cells[0].textContent);
  let due; // redrawing of the plots

  /** Applies the filters of one form to the table and the plots, and shows them in the other form too. */
  function filter(form) {
    const { find, arm, status } = form.elements, words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const passing = new Set(rows.filter((row) => {
      const text = row.textContent.toLowerCase();
      return words.every((word) => text.includes(word)) && (!arm.value || row.dataset.arm === arm.value)
        && (!status.value || row.dataset.status === status.value) && (!boxed || boxed.has(numberOf(row)));
    }));
    for (const row of rows) row.hidden = !passing.has(row);
    shown = passing.size < rows.length ? new Set([...passing].map(numberOf)) : null;
    for (const other of forms) {
      for (const name of FIELDS) if (other !== form) other.elements[name].value = form.elements[name].value;
      other.elements.count.textContent = passing.size + (passing.size === 1 ? " trial" : " trials");
      other.elements.box.hidden = !boxed;
    }
    clearTimeout(due);
    due = setTimeout(() => ofTrials.filter((name) => drawn.has(name)).forEach(draw), 120);
  }

  function drawBox(points) {
    boxed = new Set(points.map((point) => point.customdata));
    filter(forms[0]);
  }

  function removeBox() {
    boxed = null;
    filter(forms[0]);
  }

  for (const form of forms) {
    form.addEventListener("input", () => filter(form));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.elements.box.addEventListener("click", removeBox);
  }

  for (const button of document.querySelectorAll("button.all")) button.addEventListener("click", () => {
    const name = button.dataset.plot;
    if (!whole.delete(name)) whole.add(name);
    button.setAttribute("aria-pressed", String(whole.has(name)));
    draw(name);
  });

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
