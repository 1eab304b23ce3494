// One run in a window: what differs from its reference, its curve with the numbers beside it, and where it came from.
function openRun(data, id) {
  const dialog = $(document, "#run"), body = $(document, "#run-body"), run = Object.hasOwn(data.runs, id) && data.runs[id];
  const list = (head, rows) => make("div", {className: "scroll"}, make("table", {}, make("thead", {}, tr({}, ...head.map(text => make("th", {scope: "col"}, text)))),
    make("tbody", {}, ...rows.map(row => tr({}, ...row.map(text => td(text === null ? "-" : `${text}`)))))));
  const put = (title, ...inner) => body.append(make("h3", {}, title), ...inner);
  const short = value => value === null ? "-" : `${+value.toPrecision(4)}`;
  body.replaceChildren(make("h2", {id: "run-title"}, id));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  if (!run) return body.append(make("p", {}, "Not in this page; see its record."));
  const {settings, curve, rungs, gate} = run, differ = settings.differ;
  body.append(make("p", {}, run.label));
  if (run.reason) put("Stopped", make("p", {}, run.reason));
  if (settings.against) put(`${differ.length} setting${differ.length === 1 ? " differs" : "s differ"} from ${settings.against}, ${settings.equal} are equal`,
    list(["setting", "this run", settings.against], differ));
  const chart = make("div", {"aria-hidden": "true"});
  put(data.metric, curve[0].length ? make("div", {className: "chart"}, chart, list(["epoch", "value"], curve[0].map((epoch, i) => [epoch, short(curve[1][i])]))) : make("p", {}, "No value on record."));
  if (rungs.length) put("Judgements on the way", list(["epoch", "score", "cutoff", "peers", "then"], rungs.map(r => [r[0], short(r[1]), short(r[2]), r[3], r[4] ? "stopped" : "went on"])));
  if (gate.lines.length) put(`Gate ${gate.name}: ${gate.passed ? "passed" : "FAILED"}`, make("ul", {}, ...gate.lines.map(line => make("li", {}, line))));
  if (run.command) put("Train it again", make("p", {}, make("code", {className: "command"}, run.command), copy(run.command)));
  put("Where it comes from", list(["what", "value"], [...run.origin, ["record", run.path]]));
  if (curve[0].length) new uPlot({width: Math.min(500, body.clientWidth), height: 240, scales: {x: {time: false}}, legend: {show: false}, cursor: {drag: {x: false}},
    series: [{}, {stroke: "#0072B2", width: 2, points: {show: true}}], axes: [{label: "epoch"}, {size: 60}]}, curve, chart);
}
function copy(text) {
  const press = button("copy", async () => {
    try { await navigator.clipboard.writeText(text); press.textContent = "copied"; } catch { press.textContent = "select it"; }
  }, {className: "copy"});
  return press;
}
