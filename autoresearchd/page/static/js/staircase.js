// Best over experiments: the staircase, every try as a dot with its standard error, failures as ticks at the bottom.
import { byId, colour, figure, gain, number4 } from "./dom.js";
import { get } from "./net.js";
import { axis, draw } from "./plot.js";

const NEAR = 14; // pixels
let drawn = null;
let found = null;

export async function refresh() {
  found = await get("/api/chart");
  drawn?.destroy();
  drawn = null;
  const box = byId("staircase");
  box.classList.toggle("empty", found.number.length === 0);
  byId("staircase-words").textContent = sentence(found);
  if (found.number.length === 0) return;
  const steps = found.steps.length ? [...found.steps, [Math.max(found.last, 1), found.steps.at(-1)[1]]] : [];
  const xs = [...new Set(steps.map((step) => step[0]))];
  const at = new Map(steps);
  const range = verticalRange(found);
  drawn = draw(
    box,
    {
      scales: { x: { time: false, range: () => [-0.5, Math.max(found.last, 1) + 0.5] }, y: { range: () => range } },
      axes: [{ ...axis("experiment"), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }, { ...axis(), size: 70 }],
      cursor: { y: false, drag: { x: true, y: false }, points: { show: false } },
      series: [{}, { stroke: () => colour("good"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
      hooks: { draw: [dots], setCursor: [pointed], ready: [clickable] },
    },
    [xs.length ? xs : [0, 1], xs.length ? xs.map((x) => at.get(x)) : [null, null]],
  );
}

function sentence({ metric, steps, seams, tried, number, failed }) {
  if (number.length === 0) return "Nothing was measured yet.";
  const way = steps.length
    ? `${metric} went from ${figure(steps[0][1])} to ${figure(steps.at(-1)[1])} in ${steps.length === 2 ? "1 step" : `${steps.length - 1} steps`}. `
    : "";
  const thinned = number.length < tried ? ` (${number.length} of them drawn)` : "";
  const rebased = seams.length ? `At ${seams.map(number4).join(", ")} best was rebased onto new commits of the project. ` : "";
  return `${way}${rebased}${tried} experiments with a number${thinned}, ${failed.length} failed without one. Each dot is an experiment, the bar its standard error. The table below has the same figures.`;
}

/** Room for the steps and for nine in ten of the tries; what is farther out is drawn at the edge. */
function verticalRange({ steps, value }) {
  const sorted = [...value].sort((a, b) => a - b);
  const share = (part) => sorted[Math.round(part * (sorted.length - 1))];
  const inside = [share(0.05), share(0.95), ...steps.map((step) => step[1])];
  const [low, high] = [Math.min(...inside), Math.max(...inside)];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.01 || 1;
  return [low - room, high + room];
}

function place(chart, index) {
  const [low, high] = [chart.scales.y.min, chart.scales.y.max];
  const value = Math.min(high, Math.max(low, found.value[index]));
  return [chart.valToPos(found.number[index], "x", true), chart.valToPos(value, "y", true), value !== found.value[index]];
}

function dots(chart) {
  const ctx = chart.ctx;
  const unit = devicePixelRatio;
  const [plain, good, bad] = [colour("dot"), colour("good"), colour("bad")];
  ctx.save();
  ctx.beginPath();
  ctx.rect(chart.bbox.left, chart.bbox.top, chart.bbox.width, chart.bbox.height);
  ctx.clip();
  ctx.lineWidth = unit;
  const few = found.number.length < 400;
  const barred = found.steps.length < 100;
  found.number.forEach((_, index) => {
    const [x, y, outside] = place(chart, index);
    const kept = found.kept[index];
    ctx.strokeStyle = ctx.fillStyle = kept ? good : plain;
    const error = found.error[index];
    if (error && !outside && (few || (kept && barred))) {
      const reach = Math.abs(chart.valToPos(found.value[index] + error, "y", true) - y);
      ctx.beginPath();
      ctx.moveTo(x, y - reach);
      ctx.lineTo(x, y + reach);
      ctx.stroke();
    }
    ctx.beginPath();
    ctx.arc(x, y, (kept ? 4.5 : few ? 3 : 2) * unit, 0, 7);
    if (outside) ctx.stroke();
    else ctx.fill();
  });
  ctx.strokeStyle = good;
  ctx.setLineDash([2 * unit, 4 * unit]);
  for (const number of found.seams) {
    const x = chart.valToPos(number, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, chart.bbox.top);
    ctx.lineTo(x, chart.bbox.top + chart.bbox.height);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  ctx.strokeStyle = bad;
  const floor = chart.bbox.top + chart.bbox.height;
  for (const number of found.failed) {
    const x = chart.valToPos(number, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, floor);
    ctx.lineTo(x, floor - 8 * unit);
    ctx.stroke();
  }
  ctx.restore();
}

function nearest(chart) {
  const { left, top } = chart.cursor;
  let [best, distance] = [null, NEAR];
  if (left < 0) return null;
  found.number.forEach((number, index) => {
    const across = Math.abs(chart.valToPos(number, "x") - left);
    if (across > distance) return;
    const value = Math.min(chart.scales.y.max, Math.max(chart.scales.y.min, found.value[index]));
    const away = Math.hypot(across, chart.valToPos(value, "y") - top);
    if (away < distance) [best, distance] = [index, away];
  });
  return best;
}

function pointed(chart) {
  const index = nearest(chart);
  chart.over.style.cursor = index === null ? "" : "pointer";
  byId("staircase-dot").textContent =
    index === null
      ? ""
      : `${number4(found.number[index])}: ${figure(found.value[index])}${found.error[index] ? ` ± ${gain(found.error[index]).slice(1)}` : ""}${found.kept[index] ? ", kept" : ""}`;
}

function clickable(chart) {
  chart.over.addEventListener("click", () => {
    const index = nearest(chart);
    if (index !== null) location.hash = `#${found.number[index]}`;
  });
}
