"use strict";
// The table of trials and runs: sorts, filters, and keeps only the rows in sight in the document.
const make = (name, set = {}, ...inner) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(set)) key in node ? node[key] = value : node.setAttribute(key, value);
  node.append(...inner.filter(one => one !== ""));
  return node;
};
const ago = at => {
  const s = Math.max(0, Date.now() / 1000 - at);
  return s < 120 ? `${Math.round(s)} s ago` : s < 7200 ? `${Math.round(s / 60)} min ago` : s < 172800 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} days ago`;
};
const ALL = 300, PARTS = ["view", "state", "reason", "stratum", "flag", "q", "sort", "down"];

class Rows {
  constructor(article, data) {
    this.article = article; this.set = {view: "trials"}; this.load(data);
  }
  load(data) {
    this.data = data;
    for (const table of data.tables) table.rows = table.rows.map(row => Object.fromEntries(row.map((value, i) => [table.fields[i], value])));
    if (!data.tables[0].rows.length && data.tables[1].rows.length && !this.asked) this.set.view = "runs";
    this.show();
  }
  get table() { return this.data.tables.find(one => one.name === this.set.view) || this.data.tables[0]; }
  text(column, row) {
    const [key, , kind, digits] = column, value = row[key];
    if (key === "state" && row.at) return `${value}, ${ago(row.at)}`;
    if (value === null || value === "" || value === undefined) return "-";
    if (kind === "value") return `${value.toFixed(digits)} @ ${row.epoch}`;
    return kind === "number" ? (digits === null ? String(+value.toPrecision(4)) : value.toFixed(digits)) : String(value);
  }
  found() {
    const {state, reason, stratum, flag, q, sort, down} = this.set, table = this.table, words = (q || "").toLowerCase();
    const rows = table.rows.filter(row => (!state || row.state === state) && (!reason || row.reason === reason) &&
      (!stratum || row.stratum === stratum) && (!flag || row.flags.includes(flag)) &&
      (!words || table.columns.some(column => this.text(column, row).toLowerCase().includes(words))));
    const key = sort || "value", sign = (key === "value" ? table.higher : false) !== (down === "1") ? -1 : 1;
    const order = (a, b) => a === b ? 0 : a === null || a === "" ? 1 : b === null || b === "" ? -1 : sign * (typeof a === "number" ? a - b : a < b ? -1 : 1);
    // values of unlike epochs never interleave
    return rows.sort(key === "value" ? (a, b) => (a.value === null) - (b.value === null) || b.epoch - a.epoch || order(a.value, b.value)
      : (a, b) => order(a[key], b[key]));
  }
  show() {
    const section = this.article.querySelector("[data-part=runs]"), {table, set} = this;
    const scroll = section.querySelector(`[data-table=${table.name}] .scroll`);
    for (const one of section.querySelectorAll("[data-table]")) one.hidden = one.dataset.table !== table.name;
    this.filters(section.querySelector(".filters"));
    const rows = this.found(), key = set.sort || "value", items = [];
    let last;
    for (const row of rows) {
      if (key === "value" && row.value !== null && row.epoch !== last) {
        last = row.epoch;
        items.push(last);
      }
      items.push(row);
    }
    scroll.querySelector("caption").textContent = `${table.title}: ${rows.length}${rows.length < table.rows.length ? ` of ${table.rows.length}` : ""}`;
    scroll.querySelector("thead").replaceChildren(make("tr", {}, ...table.columns.map(column => {
      const on = key === column[0], down = on && (column[0] === "value" ? table.higher : false) !== (set.down === "1");
      const th = make("th", {scope: "col", title: column[4]}, make("button", {type: "button", onclick: () => this.go({sort: column[0], down: on && set.down !== "1" ? "1" : ""})}, column[1], on ? down ? " ↓" : " ↑" : ""));
      if (on) th.setAttribute("aria-sort", down ? "descending" : "ascending");
      return th;
    })));
    const body = scroll.querySelector("tbody"), tall = items.length > ALL;
    scroll.classList.toggle("tall", tall);
    scroll.onscroll = tall ? () => this.window(scroll, body, items) : null;
    this.window(scroll, body, items);
  }
  window(scroll, body, items) {
    const height = this.height || 28, tall = items.length > ALL;
    const from = tall ? Math.max(0, Math.floor(scroll.scrollTop / height) - 20) : 0, to = tall ? Math.min(items.length, from + 80) : items.length;
    if (tall && body.dataset.from === `${from}` && body.items === items) return;
    const space = n => make("tr", {}, make("td", {colSpan: this.table.columns.length, style: `height:${n * height}px;padding:0;border:0`}));
    body.dataset.from = from; body.items = items;
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.open : null;
    body.replaceChildren(...(from ? [space(from)] : []), ...items.slice(from, to).map(item => this.row(item)), ...(to < items.length ? [space(items.length - to)] : []));
    if (!items.length) body.append(make("tr", {}, make("td", {colSpan: this.table.columns.length}, this.table.rows.length ? "No row fits the filters." : "Nothing has started yet.")));
    if (tall && body.rows[1]) this.height = body.rows[1].offsetHeight || height;
    if (focused) for (const one of body.querySelectorAll("button.open")) if (one.dataset.open === focused) one.focus();
  }
  row(item) {
    if (typeof item === "number") return make("tr", {className: "epoch"}, make("td", {colSpan: this.table.columns.length}, `at epoch ${item}`));
    return make("tr", {}, ...this.table.columns.map((column, i) => {
      const text = this.text(column, item);
      if (i) return make("td", {className: column[2] === "text" ? "" : "num"}, text);
      const button = make("button", {type: "button", className: "open", onclick: () => this.go({run: item.id})}, text);
      button.dataset.open = item.id;
      return make("th", {scope: "row"}, button);
    }));
  }
  filters(box) {
    const {set, table} = this, count = key => {
      const found = new Map();
      for (const row of table.rows) if (row[key]) found.set(row[key], (found.get(row[key]) || 0) + 1);
      return [...found].sort((a, b) => b[1] - a[1]);
    };
    const pick = (key, label) => {
      const found = count(key);
      if (found.length < 2 && !set[key]) return "";
      const select = make("select", {onchange: () => this.go({[key]: select.value})}, make("option", {value: ""}, "all"),
        ...found.map(([value, n]) => make("option", {value, selected: set[key] === value}, `${value} (${n})`)));
      return make("label", {}, label, select);
    };
    const focus = box.contains(document.activeElement) && document.activeElement.type === "search" ? document.activeElement.selectionStart : -1;
    const search = make("input", {type: "search", value: set.q || "", oninput: () => this.go({q: search.value})});
    box.hidden = false;
    box.replaceChildren(...[make("span", {}, ...this.data.tables.map(one => {
      const button = make("button", {type: "button", onclick: () => this.go({view: one.name, state: "", reason: "", stratum: "", flag: "", sort: "", down: ""})}, `${one.title} (${one.rows.length})`);
      button.setAttribute("aria-pressed", one === table);
      return button;
    })), pick("state", "state"), pick("reason", "why"), pick("stratum", this.data.stratum), make("label", {}, "text", search),
    PARTS.slice(1).some(key => set[key]) ? make("button", {type: "button", onclick: () => this.go(Object.fromEntries(PARTS.slice(1).map(key => [key, ""])))}, set.flag ? `clear filter: ${set.flag}` : "clear") : ""].filter(one => one !== ""));
    if (focus >= 0) { search.focus(); search.setSelectionRange(focus, focus); }
  }
  go(change) {
    const words = new URLSearchParams({s: this.article.id});
    for (const [key, value] of Object.entries({...this.set, ...change})) if (value) words.set(key, value);
    location.hash = words;
  }
}
