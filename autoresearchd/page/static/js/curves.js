// Train loss over steps: the chosen experiments, what trains now, and best.
import { byId, el, number4 } from "./dom.js";
import { get } from "./net.js";
import { axis, draw } from "./plot.js";

const MOST = 12;
// Okabe and Ito's colours, told apart also by the colour-blind; dashes tell apart what shares one.
const COLOURS = ["#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#d55e00", "#0072b2"];
const DASHES = [[], [6, 4], [2, 3]];
let drawn = null;
let filed = [];
let live = [];
let seen = "";

/** Read the curves of these experiments, best the first. */
export async function refresh(best, numbers) {
  const wanted = [...new Set([best, ...numbers].filter((number) => number !== null && number !== undefined))].slice(0, MOST);
  filed = wanted.length ? (await get(`/api/curves?numbers=${wanted.join(",")}`)).curves : [];
  filed = filed.map((curve) => ({ ...curve, words: `${number4(curve.number)} seed ${curve.seed}${curve.number === best ? ", best" : ""}` }));
  paint();
}

/** The curves of what trains now, from the status. */
export function training(runs) {
  live = runs.filter((run) => run.points.length > 1).map((run) => ({ points: run.points, words: `${number4(run.experiment)} now on ${run.device}` }));
  paint();
}

function paint() {
  const shown = [...filed, ...live].slice(0, 3 * MOST);
  const key = JSON.stringify(shown.map((curve) => [curve.words, curve.points.length, curve.points.at(-1)]));
  if (key === seen) return;
  seen = key;
  drawn?.destroy();
  drawn = null;
  const box = byId("curves");
  box.classList.toggle("empty", shown.length === 0);
  byId("curves-words").textContent = shown.length
    ? "Train loss over steps. Tick experiments in the table to lay their curves over that of best."
    : "No curve yet: best has written none. Tick experiments in the table to see theirs.";
  const style = (index) => ({ stroke: COLOURS[index % COLOURS.length], dash: DASHES[Math.floor(index / COLOURS.length) % 3] });
  byId("curves-legend").replaceChildren(...shown.map((curve, index) => legend(curve, style(index))));
  if (!shown.length) return;
  const columns = shown.map((curve) => [curve.points.map((point) => point[0]), curve.points.map((point) => point[1])]);
  const series = shown.map((_, index) => ({ ...style(index), width: 1.5, spanGaps: true, points: { show: false } }));
  const options = { scales: { x: { time: false } }, axes: [axis("step"), { ...axis(), size: 60 }], cursor: { drag: { x: true, y: false } } };
  drawn = draw(box, { ...options, series: [{}, ...series] }, uPlot.join(columns));
}

function legend(curve, { stroke, dash }) {
  const swatch = el("span", { class: "swatch" });
  const gap = dash.length ? `repeating-linear-gradient(90deg, ${stroke} 0 ${dash[0]}px, transparent ${dash[0]}px ${dash[0] + dash[1]}px)` : stroke;
  swatch.style.background = gap;
  return el("li", {}, swatch, curve.words);
}
