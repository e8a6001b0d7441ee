// What the daemon does now: its state, the devices, and what the trainings say.
import { byId, duration, el, figure, number4 } from "./dom.js";
import { post } from "./net.js";

let slots = new Map();

export function overview(found) {
  document.title = `${found.name} · autoresearchd`;
  byId("name").textContent = found.name;
  byId("sentence").textContent = found.sentence;
  byId("metric-name").textContent = found.metric;
  const best = found.best;
  const figures = {
    [`best ${found.metric}`]: best ? `${figure(best.metric)} (${number4(best.number)})` : "–",
    baseline: figure(found.baseline),
    kept: String(found.kept),
    tried: String(found.tried),
    "noise of one run": found.noise === null ? "–" : `± ${Number(found.noise.toPrecision(2))}`,
  };
  byId("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

export function status(found) {
  const state = byId("state");
  state.dataset.state = found.paused ? "paused" : found.state;
  const why = found.why && found.why !== found.state ? `: ${found.why}` : "";
  state.textContent = `${found.paused && found.state !== "paused" ? "pausing, " : ""}${found.state ?? ""}${why}`;
  byId("pause").disabled = found.paused;
  byId("resume").disabled = !found.paused;
  const live = new Map(found.live.map((run) => [run.device, run]));
  const devices = found.devices ?? [];
  if (devices.map((device) => device.device).join() !== [...slots.keys()].join()) {
    slots = new Map(devices.map((device) => [device.device, slot(device.device)]));
    byId("devices").replaceChildren(...[...slots.values()].map((made) => made.item));
  }
  for (const device of devices) fill(slots.get(device.device), device, live.get(device.device), found.now);
}

/** The elements of one device; they stay, so that nobody's focus or scrolling is lost from second to second. */
function slot(name) {
  const what = el("span");
  const how = el("span", { class: "dim" });
  const bar = el("progress", { max: "1", "aria-label": `${name} training` });
  const log = el("pre", { class: "log", tabindex: "0", role: "region", "aria-label": `Log of ${name}` });
  const said = el("details", {}, el("summary", {}, `What ${name} says`), log);
  const item = el("li", {}, el("div", { class: "line" }, el("strong", {}, name), what, how), bar, said);
  return { item, what, how, bar, said, log, key: null };
}

function fill(made, device, run, now) {
  const idle = device.started === null;
  const key = JSON.stringify([device.experiment, device.title, idle]);
  if (key !== made.key) {
    made.key = key;
    const link = device.experiment === null ? "" : el("a", { href: `#${device.experiment}` }, number4(device.experiment));
    made.what.replaceChildren(...(idle ? [`${device.phase}, ${device.model}`] : [link, " ", device.title]));
  }
  const loss = device.train_loss === null ? "" : `, step ${device.step}, loss ${device.train_loss.toFixed(4)}`;
  made.how.textContent = idle ? "" : `seed ${device.seed}, ${device.phase}${loss}, ${duration(now - device.started)}`;
  made.bar.hidden = device.fraction === null || device.fraction === undefined;
  made.bar.value = device.fraction ?? 0;
  made.said.hidden = !run?.log;
  if (run?.log && made.log.textContent !== run.log) {
    const atEnd = made.log.scrollTop + made.log.clientHeight >= made.log.scrollHeight - 4;
    made.log.textContent = run.log;
    if (atEnd) made.log.scrollTop = made.log.scrollHeight;
  }
}

export function switches(control) {
  byId("switches").hidden = !control;
  byId("pause").addEventListener("click", () => post("/api/pause"));
  byId("resume").addEventListener("click", () => post("/api/resume"));
}
