// The table of trials and runs: sorts, filters, and keeps only the rows in sight in the document.
const $ = (root, query) => root.querySelector(query), $$ = (root, query) => [...root.querySelectorAll(query)];
const empty = value => value === null || value === "";
const make = (name, set, ...inner) => {
  const node = document.createElement(name);
  for (const key in set) key in node ? node[key] = set[key] : node.setAttribute(key, set[key]);
  node.append(...inner.filter(one => one !== ""));
  return node;
};
const tr = (set, ...cells) => make("tr", set, ...cells), td = (text, set) => make("td", set, text), button = (text, onclick, set) => make("button", {type: "button", onclick, ...set}, text);
const UNITS = [[120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"], [1 / 0, 86400, "days"]];
const ago = at => {
  const s = Date.now() / 1000 - at, [, by, unit] = UNITS.find(one => s < one[0]);
  return `${Math.round(s / by)} ${unit} ago`;
};
const ALL = 300, NONE = {state: "", reason: "", stratum: "", flag: "", q: "", sort: "", down: ""};

class Rows {
  constructor(article, data) {
    this.article = article; this.set = {view: "trials"}; this.load(data);
  }
  load(data) {
    this.data = data;
    for (const table of data.tables) table.rows = table.rows.map(row => Object.fromEntries(row.map((value, i) => [table.fields[i], value])));
    if (!this.asked) this.set.view = data.tables[0].rows.length ? "trials" : "runs";
    this.show();
  }
  get table() { return this.data.tables.find(one => one.name === this.set.view) || this.data.tables[0]; }
  text([key, , kind, digits], row) {
    const value = row[key];
    if (key === "state" && row.at) return `${value}, ${ago(row.at)}`;
    if (empty(value)) return "-";
    if (kind === "value") return `${value.toFixed(digits)} @ ${row.epoch}`;
    return kind === "number" ? digits === null ? `${+value.toPrecision(4)}` : value.toFixed(digits) : `${value}`;
  }
  get sort() {
    const key = this.set.sort || "value";
    return [key, (key === "value" && this.table.higher) !== (this.set.down === "1")];
  }
  found() {
    const {set, table} = this, [key, down] = this.sort, words = (set.q || "").toLowerCase();
    const order = (a, b) => empty(a) - empty(b) || (a === b ? 0 : (a < b) === down ? 1 : -1);
    // values of unlike epochs never interleave
    return table.rows.filter(row => ["state", "reason", "stratum"].every(one => !set[one] || row[one] === set[one]) && (!set.flag || row.flags.includes(set.flag)) &&
      (!words || table.columns.some(column => this.text(column, row).toLowerCase().includes(words))))
      .sort((a, b) => key === "value" ? empty(a.value) - empty(b.value) || b.epoch - a.epoch || order(a.value, b.value) : order(a[key], b[key]));
  }
  show() {
    const section = $(this.article, "[data-part=runs]"), {table} = this, [key, down] = this.sort, rows = this.found();
    for (const one of $$(section, "[data-table]")) one.hidden = one.dataset.table !== table.name;
    this.scroll = $(section, `[data-table=${table.name}] .scroll`);
    this.filters($(section, ".filters"));
    this.items = rows.flatMap((row, i) => key === "value" && row.value !== null && (!i || rows[i - 1].epoch !== row.epoch) ? [row.epoch, row] : [row]);
    $(this.scroll, "caption").textContent = `${table.title}: ${rows.length}${rows.length < table.rows.length ? ` of ${table.rows.length}` : ""}`;
    $(this.scroll, "thead").replaceChildren(tr({}, ...table.columns.map(([name, label, kind, , title]) => {
      const on = key === name;
      return make("th", {scope: "col", title, className: kind === "text" ? "" : "num", "aria-sort": on ? `${down ? "de" : "a"}scending` : "none"}, button(label + (on ? down ? " ↓" : " ↑" : ""), () => this.go({sort: name, down: on && this.set.down !== "1" ? "1" : ""})));
    })));
    this.tall = this.items.length > ALL;
    this.scroll.classList.toggle("tall", this.tall);
    this.scroll.onscroll = this.tall && (() => this.fill());
    this.from = -1;
    this.fill();
  }
  fill() {
    const {items, tall, scroll} = this, body = $(scroll, "tbody"), height = this.height || 28, span = {colSpan: this.table.columns.length};
    const from = tall ? Math.max(0, Math.floor(scroll.scrollTop / height) - 20) : 0, to = tall ? from + 80 : items.length;
    if (from === this.from) return;
    this.from = from;
    const open = $(body, ":focus")?.dataset.open;
    const space = n => n > 0 ? [tr({}, td("", {...span, style: `height:${n * height}px;padding:0;border:0`}))] : [];
    body.replaceChildren(...space(from), ...items.slice(from, to).map(item => item.id === undefined ? tr({className: "epoch"}, td(`at epoch ${item}`, span)) : this.row(item)),
      ...space(items.length - to), ...(items.length ? [] : [tr({}, td(this.table.rows.length ? "None fits." : "Nothing yet.", span))]));
    if (tall && !this.height) {
      this.height = body.rows[1].offsetHeight;
      return this.show();
    }
    this.focus(open);
  }
  focus(id) {
    if (id) $$(this.scroll, "button.open").find(one => one.dataset.open === id)?.focus();
  }
  row(item) {
    return tr({}, ...this.table.columns.map((column, i) => {
      const text = this.text(column, item);
      if (i) return td(text, {className: column[2] === "text" ? "" : "num"});
      return make("th", {scope: "row"}, button(text, () => this.go({run: item.id}), {className: "open", "data-open": item.id}));
    }));
  }
  filters(box) {
    const {set, table} = this, at = $(box, "input:focus")?.selectionStart;
    const pick = (key, label) => {
      const count = {};
      for (const row of table.rows) if (row[key]) count[row[key]] = (count[row[key]] || 0) + 1;
      const found = Object.entries(count).sort((a, b) => b[1] - a[1]);
      if (found.length < 2 && !set[key]) return "";
      const select = make("select", {onchange: () => this.go({[key]: select.value})}, make("option", {value: ""}, "all"),
        ...found.map(([value, n]) => make("option", {value, selected: set[key] === value}, `${value} (${n})`)));
      return make("label", {}, label, select);
    };
    const search = make("input", {type: "search", value: set.q || "", oninput: () => this.go({q: search.value})});
    box.hidden = false;
    box.replaceChildren(...[
      make("span", {}, ...this.data.tables.map(one => button(`${one.title} (${one.rows.length})`, () => this.go({...NONE, view: one.name}), {"aria-pressed": one === table}))),
      pick("state", "state"), pick("reason", "why"), pick("stratum", this.data.stratum), make("label", {}, "text", search),
      Object.keys(NONE).some(key => set[key]) ? button("clear filter", () => this.go(NONE)) : "",
    ].filter(one => one !== ""));
    if (at >= 0) search.focus(), search.setSelectionRange(at, at);
  }
  go(change) {
    location.hash = new URLSearchParams(Object.entries({s: this.article.id, ...this.set, ...change}).filter(one => one[1]));
  }
}
