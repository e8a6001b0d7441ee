// One experiment: hypothesis, evidence, runs, log and change. Opened by the address, `#42`, so that it can be linked.
import { byId, duration, el, figure, gain, number4 } from "./dom.js";
import { get, post, say } from "./net.js";

let control = false;
let open = null;
let seen = "";

export function start(mayControl) {
  control = mayControl;
  addEventListener("hashchange", () => show(true));
}

export const opened = () => open;

export async function show(moved = false) {
  const found = /^#(\d{1,9})$/.exec(location.hash);
  if (!found) return;
  open = Number(found[1]);
  try {
    render(await get(`/api/experiments/${open}`));
  } catch (error) {
    say(error.message, true);
    return;
  }
  if (moved) byId("detail-title").focus();
}

function render(found) {
  const news = JSON.stringify(found);
  if (news === seen) return; // nobody's focus or scrolling is lost for nothing
  seen = news;
  byId("detail-title").textContent = `${number4(found.number)} ${found.title}`;
  const body = byId("detail-body");
  const places = [...body.querySelectorAll("pre")].map((pre) => pre.scrollTop);
  body.replaceChildren(...parts(found));
  [...body.querySelectorAll("pre")].forEach((pre, index) => (pre.scrollTop = places[index] ?? 0));
}

function* parts(found) {
  if (found.rationale) yield el("p", {}, found.rationale);
  yield facts(found);
  if (control && found.verdict === "open" && found.number !== 0) {
    const skip = el("button", { type: "button", click: () => post(`/api/skip/${found.number}`) }, `Skip ${number4(found.number)}`);
    yield el("div", { class: "actions" }, skip);
  }
  if (found.diff) yield* [el("h3", {}, "Change"), diff(found)];
  if (found.runs.length) yield* [el("h3", {}, "Runs"), runs(found.runs)];
  if (found.log) yield* [el("h3", {}, "End of the log"), el("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "End of the log" }, found.log)];
}

function facts(found) {
  const said = {
    verdict: found.why ? `${found.verdict}: ${found.why}` : found.verdict,
    metric: figure(found.metric),
    gain: found.gain === null ? null : `${gain(found.gain, found.error)} (plus is better)`,
    confidence: found.confidence === null ? null : `${(100 * found.confidence).toFixed(2)} % that it is an improvement`,
    proposer: `${found.proposer}, ${found.category}`,
    "asked because": found.reason || null,
    cost: found.cost_usd === null ? null : `${found.cost_usd.toFixed(4)} USD`,
    lines: found.lines,
    take: `git cherry-pick ${found.commit}`,
  };
  const pairs = Object.entries(said).filter(([, value]) => value !== null);
  return el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function runs(list) {
  const head = ["seed", "ending", "trained", "device", "numbers"].map((word) => el("th", { scope: "col" }, word));
  const rows = list.map((run) =>
    el(
      "tr",
      {},
      el("td", {}, String(run.seed)),
      el("td", { class: run.ending }, run.why ? `${run.ending}: ${run.why}` : run.ending),
      el("td", {}, duration(run.seconds)),
      el("td", {}, run.device),
      el("td", {}, Object.entries(run.metrics).map(([name, value]) => `${name} ${figure(value)}`).join(", ")),
    ),
  );
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, table);
}

function diff(found) {
  const box = el("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": "Change as a diff" });
  for (const line of found.diff.split("\n")) {
    const kind = /^(diff|index|---|\+\+\+)/.test(line) ? "file" : { "+": "added", "-": "removed", "@": "hunk" }[line[0]];
    box.append(kind ? el("span", { class: kind }, line || " ") : `${line}\n`);
  }
  if (found.diff_is_cut) box.append(`… and more: git show ${found.commit}`);
  return box;
}
