// What the address asks for is what is shown, so that a filter or a run can be sent to somebody.
const rows = {__proto__: null}, dialog = $(document, "#run");
for (const article of $$(document, "article.study")) rows[article.id] = new Rows(article, JSON.parse($(article, "script.data").textContent));
function follow() {
  const {s, run, ...set} = Object.fromEntries(new URLSearchParams(location.hash.slice(1))), one = rows[s];
  if (!one || !run) dialog.close();
  if (!one) return;
  const before = JSON.stringify(one.set), section = $(one.article, "[data-part=runs]");
  one.asked = true; one.set = {view: "trials", ...set};
  if (JSON.stringify(one.set) !== before) {
    one.show();
    if (!$(section, ":focus") && !run) section.scrollIntoView();
  }
  if (run) openRun(one.data, run);
}
addEventListener("hashchange", follow);
dialog.addEventListener("close", () => {
  const words = new URLSearchParams(location.hash.slice(1)), run = words.get("run");
  if (!run) return;
  words.delete("run");
  history.replaceState(null, "", `#${words}`);
  rows[words.get("s")]?.focus(run);
});
document.addEventListener("click", event => {
  const mark = event.target.closest("[data-run]");
  if (mark) rows[mark.closest("article").id].go({run: mark.dataset.run});
});
function clocks() {
  for (const time of $$(document, "time[data-at]:not([data-form])")) { time.title ||= time.textContent; time.textContent = ago(+time.dataset.at); }
}
function buttons(root) {
  for (const code of $$(root, "code.command")) if (code.nextElementSibling?.className !== "copy") code.after(copy(code.textContent));
}
clocks(); setInterval(clocks, 1000); buttons(document); follow();
