// What was kept, on the rungs above the first: a column each, and whether it is promoted.
import { byId, el, gain, number4 } from "./dom.js";

let seen = "";

export function overview({ rungs, scales }) {
  const news = JSON.stringify([rungs, scales]);
  if (news === seen) return; // nobody's focus is lost for nothing
  seen = news;
  byId("scales").hidden = !scales.length;
  const head = ["Experiment", "Gain ± s.e.", ...rungs.map((rung) => `on ${rung}`), "promoted"];
  byId("scales-head").replaceChildren(...head.map((words) => el("th", { scope: "col" }, words)));
  byId("scales-rows").replaceChildren(...scales.map(line));
}

function line(each) {
  const link = el("a", { href: `#${each.number}` }, number4(each.number));
  return el(
    "tr",
    {},
    el("td", { class: "title" }, link, " ", each.title),
    el("td", {}, gain(each.gain, each.error)),
    ...each.rungs.map((words) => el("td", {}, words || "–")),
    el("td", { class: each.promoted ? "keep" : null }, each.promoted ? "yes" : "no"),
  );
}
