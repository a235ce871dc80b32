"use strict";
// Fetches this page again and puts its parts in place. The server alone decides what is shown and escapes it.
const seconds = Number(document.body.dataset.seconds);
const byId = (id) => document.getElementById(id);
const pause = byId("pause");
let paused = false, failures = 0, timer = 0, turn = 0;

function replace(id, fresh) {
  const old = byId(id), next = fresh.getElementById(id);
  if (old && next && !old.isEqualNode(next)) old.replaceWith(document.adoptNode(next));
}

function show(fresh) {
  document.title = fresh.title;
  const state = fresh.querySelector(".summary .badge");
  document.querySelector(".summary .badge").replaceWith(document.adoptNode(state));
  // A live region is read aloud when its text changes: only then.
  const summary = fresh.getElementById("summary").textContent;
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
  replace("updated", fresh);
  replace("events", fresh);
  const list = byId("subjects"), cards = [...fresh.getElementById("subjects").children];
  const ids = [...list.children].map((card) => card.id).join();
  if (ids === cards.map((card) => card.id).join()) cards.forEach((card) => replace(card.id, fresh));
  else list.replaceChildren(...cards);
}

async function update() {
  clearTimeout(timer);
  const own = ++turn; // an answer that comes after the next turn began, or after a pause, is not shown
  if (paused || document.hidden) return;
  try {
    const answer = await fetch("?", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (own !== turn) return;
    show(new DOMParser().parseFromString(text, "text/html"));
    if (failures) byId("connection").textContent = "";
    failures = 0;
  } catch {
    if (own !== turn) return;
    failures += 1;
    if (failures === 2) byId("connection").textContent = "hcpcreds cannot be reached: what is shown is old. Trying again.";
  }
  timer = setTimeout(update, 1000 * Math.min(seconds * 2 ** Math.max(0, failures - 1), 60));
}

pause.hidden = false;
byId("reload").hidden = true;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume updates" : "Pause updates";
  update();
});
document.addEventListener("visibilitychange", update);
timer = setTimeout(update, 1000 * seconds);
