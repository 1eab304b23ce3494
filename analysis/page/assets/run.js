"use strict";
// One run in a window: what differs from its reference, its curve with the numbers beside it, and where it came from.
function openRun(data, id) {
  const dialog = document.getElementById("run"), body = document.getElementById("run-body"), run = data.runs[id];
  const list = (head, rows) => make("div", {className: "scroll"}, make("table", {}, make("thead", {}, make("tr", {}, ...head.map(text => make("th", {scope: "col"}, text)))),
    make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map(text => make("td", {}, text === null ? "-" : String(text))))))));
  const part = (title, ...inner) => [make("h3", {}, title), ...inner];
  const short = value => value === null ? "-" : String(+value.toPrecision(4));
  body.replaceChildren(make("h2", {id: "run-title"}, id));
  let chart = null;
  if (!run) body.append(make("p", {}, "This page holds the details of compared runs and of the first 200 trials. The record of this one is in the study's folder, under runs."));
  else {
    const {settings, curve, rungs, gate} = run;
    body.append(make("p", {}, run.label), ...(run.reason ? [make("p", {}, make("b", {}, "Stopped: "), run.reason)] : []));
    if (settings.against) body.append(...part(`${settings.differ.length} setting${settings.differ.length === 1 ? " differs" : "s differ"} from ${settings.against}, ${settings.equal} are equal`),
      settings.differ.length ? list(["setting", "this run", settings.against], settings.differ) : "");
    if (curve[0].length) {
      chart = make("div", {"aria-hidden": "true"});
      body.append(...part(data.metric, make("div", {className: "chart"}, chart, list(["epoch", "value"], curve[0].map((epoch, i) => [epoch, short(curve[1][i])])))));
    } else body.append(...part(data.metric, make("p", {}, "No value on record.")));
    if (rungs.length) body.append(...part("Judgements on the way", list(["epoch", "score", "cutoff", "peers", ""], rungs.map(r => [r[0], short(r[1]), short(r[2]), r[3], r[4] ? "stopped" : "went on"]))));
    if (gate.lines.length) body.append(...part(`Gate ${gate.name}: ${gate.passed ? "passed" : "FAILED"}`, make("ul", {}, ...gate.lines.map(line => make("li", {}, line)))));
    if (run.command) body.append(...part("Train it again", make("p", {}, make("code", {className: "command"}, run.command), copy(run.command))));
    body.append(...part("Where it comes from", list(["", ""], [...run.origin, ["record", run.path]])));
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  if (chart) new uPlot({width: Math.min(500, body.clientWidth), height: 240, scales: {x: {time: false}}, legend: {show: false}, cursor: {drag: {x: false}},
    series: [{label: "epoch"}, {label: data.metric, stroke: "#0072B2", width: 2, points: {show: true}}], axes: [{label: "epoch"}, {size: 60}]}, run.curve, chart);
}
function copy(text) {
  const button = make("button", {type: "button", className: "copy", onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "select it"; }
  }}, "copy");
  return button;
}
