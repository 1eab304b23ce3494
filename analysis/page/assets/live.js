// Follows the study: parts that changed are fetched and put in place, one that is in use waits for the key U.
const live = document.body.dataset.live, have = JSON.parse(document.body.dataset.hashes), note = document.createElement("p");
note.className = "note"; note.hidden = true; note.setAttribute("role", "status"); document.body.append(note);
const say = text => { note.textContent = text; note.hidden = !text; };
let wanted = {}, busy = false, boot = "";
const used = part => part.contains(document.activeElement) && document.activeElement !== document.body || dialog.open && part.dataset.part === "runs";
async function update(force) {
  if (busy) return;
  busy = true;
  let waits = 0;
  try {
    for (const [name, hash] of Object.entries(wanted)) {
      if (have[name] === hash) continue;
      const article = document.querySelector("article.study"), part = article.querySelector(`[data-part=${name}]`);
      if (name === "runs") { have[name] = hash; continue; }
      if (part && !force && used(part)) { waits++; continue; }
      const answer = await fetch(`/s/${live}/part/${name}`);
      if (!answer.ok) throw answer.status;
      if (name === "data") { rows[article.id].load(await answer.json()); }
      else {
        const open = [...part.querySelectorAll("details")].map(one => one.open);
        part.innerHTML = await answer.text();
        part.querySelectorAll("details").forEach((one, i) => { one.open = open[i]; });
        buttons(part);
      }
      have[name] = hash;
    }
    clocks();
    say(waits ? "Updated. Press U to show it." : "");
  } catch (error) {
    say(error === 403 ? "The page was started anew: open the address that it printed." : "No answer; trying again.");
  }
  busy = false;
}
const stream = new EventSource(`/s/${live}/events`);
stream.addEventListener("parts", event => {
  const told = JSON.parse(event.data);
  if (boot && boot !== told.boot) return location.reload();
  boot = told.boot;
  wanted = told.parts;
  if (told.error) say(told.error); else update(false);
});
stream.onerror = () => say("No connection to the page's server; what stands here is what it last said.");
stream.onopen = () => say("");
addEventListener("keydown", event => { if (event.key === "u" && !/INPUT|SELECT/.test(event.target.tagName)) update(true); });
setInterval(() => { if (Object.entries(wanted).some(([name, hash]) => have[name] !== hash)) update(false); }, 2000);
