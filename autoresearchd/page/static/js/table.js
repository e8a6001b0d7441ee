// The experiments as a table: a page at a time, searched on the server, kept in place while it is refreshed.
import { byId, el, figure, gain, number4 } from "./dom.js";
import { get, say } from "./net.js";

const PAGE = 50;
const chosen = new Set();
let offset = 0;
let asked = 0;
let onChosen = () => {};

export const compared = () => [...chosen];

export function start(changed) {
  onChosen = changed;
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("text").addEventListener("input", () => go(0));
  byId("verdict").addEventListener("change", () => go(0));
  byId("newer").addEventListener("click", () => go(offset - PAGE));
  byId("older").addEventListener("click", () => go(offset + PAGE));
  addEventListener("hashchange", mark);
}

function go(to) {
  offset = Math.max(0, to);
  refresh().catch((error) => say(error.message, true));
}

export async function refresh() {
  const [text, verdict] = [byId("text").value, byId("verdict").value];
  const mine = ++asked;
  const query = new URLSearchParams({ text, verdict, offset, limit: PAGE });
  const found = await get(`/api/experiments?${query}`);
  if (mine !== asked) return; // something newer was asked for meanwhile
  const last = Math.min(found.total, found.offset + found.rows.length);
  byId("count").textContent = text || verdict ? `${found.total} match` : `${found.total} experiments, newest first`;
  byId("where").textContent = found.total ? `${found.offset + 1}–${last} of ${found.total}` : "none";
  byId("newer").disabled = found.offset === 0;
  byId("older").disabled = last >= found.total;
  keepingFocus(() => byId("rows").replaceChildren(...found.rows.map(tableRow)));
  mark();
}

/** The rows are made anew: whoever was in one of them by keyboard stays there. */
function keepingFocus(change) {
  const key = byId("rows").contains(document.activeElement) ? document.activeElement.dataset.key : null;
  change();
  if (key) byId("rows").querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function tableRow(row) {
  const box = el("input", {
    type: "checkbox",
    "aria-label": `Compare the curve of ${number4(row.number)}`,
    "data-key": `c${row.number}`,
    change: (event) => {
      if (event.target.checked) chosen.add(row.number);
      else chosen.delete(row.number);
      onChosen();
    },
  });
  box.checked = chosen.has(row.number);
  const link = el("a", { href: `#${row.number}`, "data-key": `l${row.number}` }, number4(row.number));
  return el(
    "tr",
    { "data-number": String(row.number) },
    el("td", {}, box),
    el("td", { class: "title" }, link, " ", row.title),
    el("td", { class: row.verdict, title: row.why || null }, row.verdict),
    el("td", { class: "number" }, figure(row.metric)),
    el("td", { class: "number" }, gain(row.gain, row.error)),
    el("td", { class: "number" }, row.verdict === "open" ? "–" : String(row.runs)),
    el("td", {}, row.proposer),
  );
}

function mark() {
  const current = location.hash.slice(1);
  for (const row of byId("rows").children) {
    if (row.dataset.number === current) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

/** The verdicts that there are, for the filter. */
export function verdicts(found) {
  const select = byId("verdict");
  const words = ["", "open", "baseline", ...found];
  if (words.length === select.options.length) return;
  const before = select.value;
  select.replaceChildren(...words.map((word) => el("option", { value: word }, word || "all")));
  select.value = before;
}
