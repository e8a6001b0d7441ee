// What was kept, looked at again: on the rungs above the first, and what it is worth today.
import { byId, el, gain, number4 } from "./dom.js";

const seen = {};

export function overview({ rungs, scales, worth }) {
  fill("scales", ["Experiment", "Gain ± s.e.", ...rungs.map((rung) => `on ${rung}`), "promoted"], scales, climb);
  fill("worth", ["Experiment", "Gain then ± s.e.", "Worth today ± s.e.", "taken out as"], worth, today);
}

/** A table, hidden while there is nothing in it. */
function fill(name, head, found, cells) {
  const news = JSON.stringify([head, found]);
  if (news === seen[name]) return; // nobody's focus is lost for nothing
  seen[name] = news;
  byId(name).hidden = !found.length;
  byId(`${name}-head`).replaceChildren(...head.map((words) => el("th", { scope: "col", class: words.endsWith("s.e.") ? "number" : null }, words)));
  byId(`${name}-rows`).replaceChildren(...found.map((each) => el("tr", {}, titled(each), ...cells(each))));
}

const link = (number) => el("a", { href: `#${number}` }, number4(number));
const titled = (each) => el("td", { class: "title" }, link(each.number), " ", each.title);

const climb = (each) => [
  el("td", { class: "number" }, gain(each.gain, each.error)),
  ...each.rungs.map((words) => el("td", {}, words || "–")),
  el("td", { class: each.promoted ? "keep" : null }, each.promoted ? "yes" : "no"),
];

const today = (each) => [
  el("td", { class: "number" }, gain(each.gain, each.error)),
  el("td", { class: "number" }, gain(each.today, each.today_error)),
  el("td", {}, each.trial === null ? "–" : link(each.trial), each.is_dead_weight ? ", for good" : null),
];
