// The explorer: one state, kept in the address, from which everything on the page is drawn.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const ROW = 34;
  const count = data.models.length;
  const place = new Map(data.columns.map((column, i) => [column.name, i]));
  const figures = new Map(data.figures.map((figure) => [figure.name, figure]));
  const column = (name) => data.models.map((model) => model[place.get(name)]);
  const ids = column("id"), sets = column("dataset"), sources = column("source");
  const byId = new Map(ids.map((id, i) => [id, i]));
  const shownColumns = data.columns.filter((each) => each.first);
  const haystack = data.models.map((model) => shownColumns.map((each, i) => model[i]).join(" ").toLowerCase());
  const DEFAULT = { view: "models", q: "", dataset: "", source: "", results: "", sort: "", x: "overfit_gap",
    y: "mia_modified_entropy_auc", intervals: "1", box: "", id: "", board: "0" };
  const COLOURS = ["--c1", "--c2", "--c3", "--c4"], FORMS = ["circle", "square", "triangle-up", "diamond"];

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const digits = (value) => typeof value !== "number" ? value
    : Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(Math.abs(value) < 10 ? 3 : 1);
  const written = (value, ends) => digits(value) + (ends ? ` (${digits(ends[0])} to ${digits(ends[1])})` : "");
  const short = (id) => id.split("/").slice(2).join("/") || id;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The state
  const read = () => {
    const state = { ...DEFAULT };
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (Object.hasOwn(DEFAULT, name)) state[name] = value;
    if (!figures.has(state.x)) state.x = DEFAULT.x;
    if (!figures.has(state.y)) state.y = DEFAULT.y;
    return state;
  };
  let state = read();
  const address = (next) => {
    const kept = new URLSearchParams();
    for (const [name, value] of Object.entries(next)) if (value !== DEFAULT[name]) kept.set(name, value);
    return `#${kept}`;
  };
  const change = (part) => {
    state = { ...state, ...part };
    history.replaceState(null, "", address(state));
    draw();
  };

  // Which models
  const inBox = () => {
    const ends = state.box.split(",").map(Number);
    if (ends.length !== 4 || ends.some(Number.isNaN)) return () => true;
    const [x0, x1, y0, y1] = ends, x = figures.get(state.x).values, y = figures.get(state.y).values;
    return (i) => x[i] !== null && y[i] !== null && x[i] >= x0 && x[i] <= x1 && y[i] >= y0 && y[i] <= y1;
  };
  const filtered = (useBox) => {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean), boxed = useBox ? inBox() : () => true;
    const found = [];
    for (let i = 0; i < count; i++) {
      if (state.dataset && sets[i] !== state.dataset) continue;
      if (state.source && sources[i] !== state.source) continue;
      if (state.results && !data.results[ids[i]]) continue;
      if (words.some((word) => !haystack[i].includes(word)) || !boxed(i)) continue;
      found.push(i);
    }
    return found;
  };
  const sorted = (rows) => {
    const name = state.sort.replace(/^-/, ""), sign = state.sort.startsWith("-") ? -1 : 1;
    if (!place.has(name)) return rows;
    const values = column(name);
    return rows.slice().sort((a, b) => {
      const one = values[a], other = values[b];
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * (typeof one === "number" ? one - other : String(one).localeCompare(String(other)));
    });
  };

  // The table, of which only the rows in sight exist
  let rows = [];
  const grid = $("grid"), body = grid.querySelector("tbody");
  const head = () => {
    const line = element("tr");
    for (const each of shownColumns) {
      const way = state.sort === each.name ? "ascending" : state.sort === `-${each.name}` ? "descending" : "none";
      const cell = element("th", null, { scope: "col", "aria-sort": way, title: each.meaning });
      if (each.number) cell.className = "n";
      const button = element("button", each.words, { type: "button" });
      button.addEventListener("click", () => {
        const first = each.number ? `-${each.name}` : each.name, second = each.number ? each.name : `-${each.name}`;
        change({ sort: state.sort === first ? second : first });
        grid.scrollTop = 0;
        grid.querySelectorAll("thead button")[shownColumns.indexOf(each)].focus();
      });
      cell.append(button);
      line.append(cell);
    }
    grid.querySelector("thead").replaceChildren(line);
  };
  const gap = (height) => {
    const line = element("tr", null, { class: "gap", "aria-hidden": "true" });
    const cell = element("td", null, { colspan: shownColumns.length });
    cell.style.height = `${height}px`;
    line.append(cell);
    return line;
  };
  let first = -1;
  const fill = (again) => {
    const start = Math.max(0, Math.floor(grid.scrollTop / ROW) - 10);
    if (!again && start === first) return;
    first = start;
    const end = Math.min(rows.length, start + Math.ceil(grid.clientHeight / ROW) + 20);
    const lines = [gap(start * ROW)];
    for (let at = start; at < end; at++) {
      const i = rows[at], line = element("tr", null, { "aria-rowindex": at + 2 });
      shownColumns.forEach((each, k) => {
        const value = data.models[i][k];
        const cell = element(k ? "td" : "th", k ? (value === null ? "-" : digits(value)) : null);
        if (!k) {
          cell.scope = "row";
          cell.append(element("a", short(value), { href: address({ ...state, view: "model", id: ids[i] }), title: value }));
        } else if (each.number) cell.className = "n";
        if (value !== null && figures.has(each.name) && figures.get(each.name).values[i] === null) {
          cell.textContent += " †";
          cell.title = "a flag says not to use it";
        }
        line.append(cell);
      });
      lines.push(line);
    }
    lines.push(gap((rows.length - end) * ROW));
    body.replaceChildren(...lines);
    grid.querySelector("table").setAttribute("aria-rowcount", rows.length + 1);
  };
  grid.addEventListener("scroll", () => fill(false), { passive: true });

  // The plot
  let view = null;
  const tip = $("tip");
  const groups = (chosen) => {
    const sizes = new Map();
    for (const i of chosen) sizes.set(sets[i], (sizes.get(sets[i]) || 0) + 1);
    const names = [...sizes].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name]) => name);
    return (i) => names.includes(sets[i]) ? sets[i] : "others";
  };
  const points = (chosen) => {
    const x = figures.get(state.x), y = figures.get(state.y), group = groups(chosen), found = [];
    for (const i of chosen) {
      if (x.values[i] === null || y.values[i] === null) continue;
      const [xl, xh] = (x.ends && x.ends[i]) || [x.values[i], x.values[i]];
      const [yl, yh] = (y.ends && y.ends[i]) || [y.values[i], y.values[i]];
      found.push({ i, x: x.values[i], y: y.values[i], xl, xh, yl, yh, group: group(i) ?? "others", cx: 0, cy: 0, x0: 0, x1: 0, y0: 0, y1: 0 });
    }
    return found;
  };
  const specification = (values, width) => {
    const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
    const names = [...new Set(values.map((each) => each.group))].sort((a, b) => (a === "others") - (b === "others"));
    const scale = (name, field, range) => {
      const [from, to] = state.intervals ? [`${field}l`, `${field}h`] : [field, field];
      let low = Infinity, high = -Infinity;
      for (const each of values) { low = Math.min(low, each[from]); high = Math.max(high, each[to]); }
      const wide = high / Math.max(low, 1e-9) > 1000 && low > 0;
      return { name, type: wide ? "log" : "linear", domain: [low, high], range, nice: true, zero: false };
    };
    const axis = (orient, name, title) => ({ orient, scale: name, title, grid: true, gridColor: line, domainColor: soft,
      tickColor: soft, labelColor: soft, titleColor: ink, labelFontSize: 12, titleFontSize: 13, tickCount: 6,
      labelOverlap: true, titleLimit: orient === "left" ? 300 : width - 60 });
    return {
      $schema: "https://vega.github.io/schema/vega/v6.json", width, height: Math.min(420, Math.max(280, width * 0.6)),
      autosize: { type: "fit", contains: "padding" }, padding: 5, background: "transparent",
      signals: [
        { name: "from", value: null, on: [{ events: "pointerdown", update: "xy()" }] },
        { name: "to", value: null, on: [{ events: "pointerdown", update: "xy()" },
          { events: "[pointerdown, window:pointerup] > window:pointermove", update: "[clamp(x(), 0, width), clamp(y(), 0, height)]" }] },
      ],
      scales: [scale("x", "x", "width"), scale("y", "y", "height"),
        { name: "colour", type: "ordinal", domain: names, range: names.map((_, i) => colour(COLOURS[i])) },
        { name: "form", type: "ordinal", domain: names, range: FORMS }],
      axes: [axis("bottom", "x", figures.get(state.x).words), axis("left", "y", figures.get(state.y).words)],
      legends: [{ fill: "colour", shape: "form", orient: "top", direction: "horizontal", labelColor: ink, columns: width < 500 ? 2 : 4, labelLimit: 140 }],
      marks: [
        { type: "rect", interactive: false, encode: { update: {
          x: { signal: "from ? from[0] : 0" }, x2: { signal: "to ? to[0] : 0" }, y: { signal: "from ? from[1] : 0" }, y2: { signal: "to ? to[1] : 0" },
          fill: { value: soft }, fillOpacity: { value: 0.15 }, stroke: { value: soft } } } },
      ],
    };
  };
  // Vega draws axes and legend; points and intervals have a canvas of their own above it, as thousands of Vega's
  // marks take longer than a reader waits.
  const RADIUS = 3.6;
  const trace = {
    circle: (pen, x, y) => { pen.moveTo(x + RADIUS, y); pen.arc(x, y, RADIUS, 0, 2 * Math.PI); },
    square: (pen, x, y) => pen.rect(x - 3.2, y - 3.2, 6.4, 6.4),
    "triangle-up": (pen, x, y) => { pen.moveTo(x, y - 4.2); pen.lineTo(x + 4.2, y + 3.2); pen.lineTo(x - 4.2, y + 3.2); pen.closePath(); },
    diamond: (pen, x, y) => { pen.moveTo(x, y - 4.6); pen.lineTo(x + 4.6, y); pen.lineTo(x, y + 4.6); pen.lineTo(x - 4.6, y); pen.closePath(); },
  };
  const locate = (drawn, values) => {
    const x = drawn.scale("x"), y = drawn.scale("y"), origin = drawn.origin(), padding = drawn.padding();
    const left = origin[0] + padding.left, top = origin[1] + padding.top;
    for (const each of values) {
      [each.cx, each.cy] = [left + x(each.x), top + y(each.y)];
      [each.x0, each.x1] = each.xh > each.xl ? [left + x(each.xl), left + x(each.xh)] : [0, 0];
      [each.y0, each.y1] = each.yh > each.yl ? [top + y(each.yh), top + y(each.yl)] : [0, 0];
    }
  };
  const canvasAbove = (box) => {
    const below = box.querySelector("canvas"), canvas = element("canvas", null, { class: "points", "aria-hidden": "true" });
    [canvas.width, canvas.height] = [below.width, below.height];
    [canvas.style.width, canvas.style.height] = [below.style.width, below.style.height];
    box.append(canvas);
    const pen = canvas.getContext("2d");
    pen.scale(below.width / parseFloat(below.style.width), below.height / parseFloat(below.style.height));
    return pen;
  };
  const paint = (pen, drawn, placed, withIntervals) => {
    const fill = drawn.scale("colour"), form = drawn.scale("form"), own = new Map();
    for (const each of placed) (own.get(each.group) || own.set(each.group, []).get(each.group)).push(each);
    pen.clearRect(0, 0, 1e5, 1e5);
    // One path for each group: where intervals cross, they get no darker.
    pen.globalAlpha = 0.35;
    for (const [group, these] of withIntervals ? own : []) {
      pen.strokeStyle = fill(group);
      pen.beginPath();
      for (const { cx, cy, x0, x1, y0, y1 } of these) {
        if (x1 > x0) { pen.moveTo(x0, cy); pen.lineTo(x1, cy); }
        if (y1 > y0) { pen.moveTo(cx, y0); pen.lineTo(cx, y1); }
      }
      pen.stroke();
    }
    pen.globalAlpha = 0.75;
    let last = null, mark = null;
    for (const { group, cx, cy } of placed) {
      if (group !== last) [last, pen.fillStyle, mark] = [group, fill(group), trace[form(group)]];
      pen.beginPath();
      mark(pen, cx, cy);
      pen.fill();
    }
  };
  // The last drawn of the points under the pointer.
  const under = (placed, event) => {
    const box = $("plot").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    for (let k = placed.length - 1; k >= 0; k--) if ((placed[k].cx - x) ** 2 + (placed[k].cy - y) ** 2 <= 25) return placed[k];
    return null;
  };
  let shownPoints = [], pressed = null;
  const drawPlot = () => {
    if (view) view.finalize();
    view = null;
    const box = $("plot"), chosen = filtered(false), values = points(chosen);
    if (!values.length) {
      box.replaceChildren(element("p", "No model has both figures.", { class: "none" }));
      shownPoints = [];
    } else {
      box.replaceChildren();
      const width = Math.max(240, box.clientWidth - 10);
      view = new vega.View(vega.parse(specification(values, width), null, { ast: true }),
        { expr: vega.expressionInterpreter, renderer: "canvas", container: box, logLevel: 1 });
      view.run();
      const drawn = view, pen = canvasAbove(box);
      locate(view, values);
      shownPoints = values;
      paint(pen, view, values, false);
      // The points first; their intervals when these are on the screen.
      if (state.intervals) requestAnimationFrame(() => setTimeout(() => { if (drawn === view) paint(pen, view, values, true); }));
    }
    const lacking = chosen.length - values.length;
    $("about-plot").textContent = `${values.length.toLocaleString("en")} models` + (lacking ? `; ${lacking.toLocaleString("en")} lack one of the figures, or a flag says not to use it` : "")
      + ". Lines are 95 % intervals, where the number of images is known. Drag over points to select their models.";
  };
  $("plot").addEventListener("pointermove", (event) => {
    const known = under(shownPoints, event);
    $("plot").classList.toggle("over", Boolean(known));
    tip.hidden = !known;
    if (!known) return;
    tip.textContent = [ids[known.i], ...["x", "y"].map((name) => {
      const figure = figures.get(state[name]);
      return `${figure.words}: ${written(figure.values[known.i], figure.ends && figure.ends[known.i])}`;
    })].join("\n");
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
  $("plot").addEventListener("pointerleave", () => { tip.hidden = true; });
  $("plot").addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; });
  $("plot").addEventListener("click", (event) => {
    if (!pressed || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) >= 5) return; // points were selected
    const known = under(shownPoints, event);
    if (known) location.hash = address({ ...state, view: "model", id: ids[known.i] });
  });
  addEventListener("pointerup", () => {
    if (!view || state.view !== "models") return;
    const from = view.signal("from"), to = view.signal("to");
    if (!from || !to) return;
    view.signal("from", null).signal("to", null).run();
    if (Math.abs(from[0] - to[0]) < 5 || Math.abs(from[1] - to[1]) < 5) return;
    const ends = (name, k) => [from[k], to[k]].map((at) => view.scale(name).invert(at)).sort((a, b) => a - b);
    change({ box: [...ends("x", 0), ...ends("y", 1)].map((value) => Number(value.toPrecision(5))).join(",") });
  });

  // One model
  const percentile = (figure, i) => {
    const peers = [];
    for (let k = 0; k < count; k++) if (k !== i && sets[k] === sets[i] && figure.values[k] !== null) peers.push(figure.values[k]);
    if (peers.length < 5 || sets[i] === null) return null;
    const value = figure.values[i];
    const below = peers.filter((peer) => peer < value).length;
    return `higher than ${Math.floor(100 * below / peers.length)} % of ${peers.length} models of ${sets[i]}`;
  };
  const table = (names, lines) => {
    const box = element("div", null, { class: "scroll", role: "region", tabindex: "0", "aria-label": "Table" });
    const made = element("table"), top = element("tr");
    names.forEach((name) => top.append(element("th", name, { scope: "col" })));
    made.append(element("thead"), element("tbody"));
    made.firstChild.append(top);
    for (const cells of lines) {
      const line = element("tr");
      cells.forEach((cell) => { const made = element("td"); made.append(cell instanceof Node ? cell : String(cell ?? "-")); line.append(made); });
      made.lastChild.append(line);
    }
    box.append(made);
    return box;
  };
  const drawModel = () => {
    const box = $("model"), i = byId.get(state.id);
    const back = element("a", "Back to the table", { href: address({ ...state, view: "models", id: "" }) });
    if (i === undefined) return box.replaceChildren(element("h2", "No such model"), element("p", state.id), back);
    const parts = [element("h2", ids[i]), back];
    if (data.flags[i].length) {
      const list = element("ul");
      data.flags[i].forEach((flag) => list.append(element("li", `${flag}: ${data.meanings[flag] || ""}`)));
      parts.push(element("h3", "What to know"), list);
    }
    for (const each of data.verdicts[ids[i]] || []) {
      const box = element("div", null, { class: `verdict ${each.tone}` }), title = element("p");
      const whole = (text) => text.replace(/(\d) %/g, "$1\u00a0%"); // a number and its unit stay in one line
      title.append(element("strong", whole(each.title)));
      box.append(title, element("p", whole(each.text)));
      parts.push(box);
    }
    const results = data.results[ids[i]] || [];
    if (results.length) {
      parts.push(element("h3", "Results"), table(["attack", "images", "figure", "measured", "by", "record"],
        results.map((each) => [each.attack, each.images, `${each.figure} ${written(each.value, each.ends)}`, each.created, each.author, each.record])));
    }
    const facts = element("dl");
    data.columns.forEach((each, k) => {
      const value = data.models[i][k];
      if (value === null || each.name === "id") return;
      facts.append(element("dt", each.words, { title: each.meaning }));
      const cell = element("dd"), figure = figures.get(each.name);
      if (typeof value === "string" && /^https:\/\//.test(value)) cell.append(element("a", value, { href: value, rel: "noreferrer" }));
      else cell.textContent = written(value, figure && figure.ends && figure.ends[i]);
      const among = figure && figure.values[i] !== null && each.name !== "num_classes" && !/_size$|members$|year$/.test(each.name) ? percentile(figure, i) : null;
      if (among) cell.append(element("span", ` ${among}`, { class: "soft" }));
      facts.append(cell);
    });
    box.replaceChildren(...parts, element("h3", "Annotations"), facts);
  };

  // Leaderboards
  const bar = (row, low, high) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "span");
    svg.setAttribute("aria-hidden", "true");
    const at = (value) => `${high > low ? 4 + 92 * (value - low) / (high - low) : 50}%`;
    const draw = (name, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      svg.append(made);
    };
    if (row.ends) draw("line", { x1: at(row.ends[0]), x2: at(row.ends[1]), y1: "50%", y2: "50%" });
    draw("circle", { cx: at(row.value), cy: "50%", r: 4 });
    return svg;
  };
  const more = (board, most) => {
    const button = element("button", `Show the next of ${board.rows.length.toLocaleString("en")}`, { type: "button" });
    button.addEventListener("click", () => drawBoard(most + MOST));
    return button;
  };
  const MOST = 100; // rows of a leaderboard until more are asked for
  const drawBoard = (most = MOST) => {
    const board = data.boards[Number(state.board)] || data.boards[0], box = $("board");
    if (!board) return box.replaceChildren(element("p", "No results were given to this page. `securitynet explore --records DIR` adds them."));
    const ends = board.rows.flatMap((row) => row.ends || [row.value]);
    const low = ends.reduce((a, b) => Math.min(a, b), Infinity), high = ends.reduce((a, b) => Math.max(a, b), -Infinity);
    box.replaceChildren(element("h2", board.title),
      element("p", "A place such as 2-5 says that the intervals allow every place from 2 to 5: models that share places are tied."),
      ...(board.comparison ? [element("p", board.comparison, { class: "soft" })] : []),
      table(["place", "model", "figure", "", "measured", "by"], board.rows.slice(0, most).map((row) => [row.place,
        byId.has(row.model) ? element("a", row.model, { href: address({ ...state, view: "model", id: row.model }) }) : row.model,
        written(row.value, row.ends) + (row.opinion ? `, ${row.opinion}` : ""), bar(row, low, high), row.created, row.author])),
      ...(board.rows.length > most ? [more(board, most)] : []),
      ...(board.settings ? [element("p", `Settings: ${board.settings}`, { class: "soft" })] : []));
  };

  // CSV: no cell begins with what a spreadsheet would run
  const csvCell = (value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  $("csv").addEventListener("click", () => {
    const more = data.figures.filter((figure) => !place.has(figure.name));
    const withEnds = data.figures.filter((figure) => figure.ends);
    const lines = [[...data.columns.map((each) => each.name), ...more.map((figure) => figure.name), ...withEnds.flatMap((figure) => [`${figure.name}_low`, `${figure.name}_high`]), "flags"]];
    for (const i of rows) lines.push([...data.models[i], ...more.map((figure) => figure.values[i]),
      ...withEnds.flatMap((figure) => figure.ends[i] || [null, null]), data.flags[i].join(" ")]);
    const link = element("a", null, { download: "securitynet.csv", href: URL.createObjectURL(
      new Blob([lines.map((line) => line.map(csvCell).join(",")).join("\n") + "\n"], { type: "text/csv" })) });
    link.click();
    URL.revokeObjectURL(link.href);
  });

  // Everything
  const options = (select, entries, chosen) => {
    select.replaceChildren(...entries.map(([value, text]) => element("option", text, { value })));
    select.value = chosen;
  };
  const forms = [...document.querySelectorAll("#explorer form")];
  const field = (name) => document.querySelector(`#explorer [name=${name}]`);
  const names = (values) => [["", "all"], ...[...new Set(values)].filter((name) => name !== null).sort().map((name) => [name, name])];
  options(field("dataset"), names(sets), "");
  options(field("source"), names(sources), "");
  for (const axis of ["x", "y"]) options(field(axis), data.figures.map((figure) => [figure.name, figure.words]), state[axis]);
  options(field("board"), data.boards.map((board, i) => [String(i), board.title]), "0");
  for (const form of forms) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      const { name, type, checked, value } = event.target;
      const part = { [name]: type === "checkbox" ? (checked ? "1" : "") : value };
      if (name === "x" || name === "y") part.box = "";
      change(part);
      grid.scrollTop = 0;
    });
    form.addEventListener("reset", () => setTimeout(() => change({ q: "", dataset: "", source: "", results: "", box: "", sort: "" })));
  }
  let plotted = "", tabled = null;
  const draw = () => {
    for (const name of ["q", "dataset", "source", "x", "y", "board"]) if (field(name) && field(name).value !== state[name]) field(name).value = state[name];
    for (const name of ["results", "intervals"]) field(name).checked = state[name] === "1";
    for (const name of ["models", "model", "boards"]) $(name).hidden = state.view !== name;
    document.querySelectorAll(".views a").forEach((link) => {
      const current = link.hash === `#view=${state.view}` || (state.view === "model" && link.hash === "#view=models");
      current ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    });
    tip.hidden = true;
    if (state.view === "model") return drawModel();
    if (state.view === "boards") return drawBoard();
    const listed = [state.q, state.dataset, state.source, state.results, state.sort, state.box, innerHeight].join("\n");
    if (listed !== tabled) {
      tabled = listed;
      rows = sorted(filtered(true));
      $("count").textContent = `${rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} models` + (state.box ? ", selected in the plot" : "") + "; †: a flag says not to use it";
      head();
      fill(true);
    } else { // Only the plot changes, and where the names lead back to.
      fill(false);
      for (const link of body.querySelectorAll("a")) link.href = address({ ...state, view: "model", id: link.title });
    }
    const key = [state.q, state.dataset, state.source, state.results, state.x, state.y, state.intervals, $("plot").clientWidth].join("\n");
    if (key !== plotted) { plotted = key; requestAnimationFrame(drawPlot); }
  };
  const redraw = () => { plotted = ""; draw(); };
  addEventListener("hashchange", () => { state = read(); draw(); });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  $("plain").remove();
  $("explorer").hidden = false;
  draw();
})();
