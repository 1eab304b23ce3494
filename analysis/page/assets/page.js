"use strict";
// Ties the parts together: what the address asks for is what is shown, so that a filter or a run can be sent to somebody.
const rows = {};
for (const article of document.querySelectorAll("article.study")) rows[article.id] = new Rows(article, JSON.parse(article.querySelector("script.data").textContent));
function follow() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1))), one = rows[asked.s], dialog = document.getElementById("run");
  if (!one) { if (dialog.open) dialog.close(); return; }
  const before = JSON.stringify(one.set), {s, run, ...set} = asked;
  one.asked = true; one.set = {view: "trials", ...set};
  if (JSON.stringify(one.set) !== before) {
    one.show();
    if (!one.article.querySelector("[data-part=runs]").contains(document.activeElement) && !dialog.open) one.article.querySelector("[data-part=runs]").scrollIntoView();
  }
  if (run) openRun(one.data, run); else if (dialog.open) dialog.close();
}
addEventListener("hashchange", follow);
document.getElementById("run").addEventListener("close", () => {
  const words = new URLSearchParams(location.hash.slice(1));
  if (!words.has("run")) return;
  const id = words.get("run"), one = rows[words.get("s")];
  words.delete("run");
  history.replaceState(null, "", `#${words}`);
  for (const button of one ? one.article.querySelectorAll("button.open") : []) if (button.dataset.open === id) button.focus();
});
document.addEventListener("click", event => {
  const mark = event.target.closest("[data-run]");
  if (mark) rows[mark.closest("article").id].go({run: mark.dataset.run});
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && !/INPUT|SELECT/.test(event.target.tagName) && !document.getElementById("run").open) {
    const search = document.querySelector(".filters input");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
function clocks() { for (const time of document.querySelectorAll("time[data-at]")) if (!time.dataset.form) { time.title = time.title || time.textContent; time.textContent = ago(+time.dataset.at); } }
function buttons(root) { for (const code of root.querySelectorAll("code.command")) if (code.nextElementSibling?.className !== "copy") code.after(copy(code.textContent)); }
clocks(); setInterval(clocks, 1000); buttons(document); follow();
