// What the two charts share: axes in the page's colours, and a size that follows the page.
import { colour } from "./dom.js";

export const axis = (words = "") => ({
  stroke: () => colour("dim"),
  label: words || undefined,
  labelSize: words ? 22 : undefined,
  labelFont: "13px system-ui, sans-serif",
  font: "12px system-ui, sans-serif",
  grid: { stroke: () => colour("line"), width: 1 },
  ticks: { stroke: () => colour("line"), width: 1 },
  values: (_chart, splits, _axis, _space, step) => splits.map((split) => split.toFixed(decimals(step))),
});

/** As many places as the step between two ticks has, so that no tick is rounded to what it is not. */
const decimals = (step) => (Number(step.toPrecision(3)).toFixed(10).split(".")[1] ?? "").replace(/0+$/, "").length;

/** A chart in a box, as wide as the box; `options` as uPlot wants them, without a size. */
export function draw(box, options, data) {
  box.replaceChildren();
  const size = () => ({ width: box.clientWidth, height: Math.max(200, Math.min(380, box.clientWidth * 0.5)) });
  const chart = new uPlot({ ...size(), legend: { show: false }, ...options }, data, box);
  const resized = new ResizeObserver(() => {
    if (chart.width !== box.clientWidth) chart.setSize(size());
  });
  resized.observe(box);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => chart.redraw(false);
  dark.addEventListener("change", repaint);
  return {
    chart,
    destroy: () => {
      resized.disconnect();
      dark.removeEventListener("change", repaint);
      chart.destroy();
    },
  };
}
