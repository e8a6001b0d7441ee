// Elements and figures. Words only ever become text nodes: nothing here parses markup.

/** An element with properties (`class`, `data-…`, `aria-…` and handlers among them) and children, words or elements. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

export const number4 = (number) => (number === null ? "–" : String(number).padStart(4, "0"));

/** Six significant digits, as the terminal shows them. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? short(value) : value.toFixed(places(value, 6));
}

/** As Python's `.6g`. */
function short(value) {
  const [digits, exponent] = value.toExponential(5).split("e").map(Number);
  if (exponent >= -4 && exponent < 6) return String(Number(value.toPrecision(6)));
  return `${digits}e${exponent < 0 ? "-" : "+"}${two(Math.abs(exponent))}`;
}

/** Decimal places that show so many significant digits of the value as it is after rounding. */
const places = (of, digits) => Math.min(10, Math.max(0, digits - 1 - Number(of.toExponential(digits - 1).split("e")[1])));

/** An improvement with its sign, to two digits of its standard error. */
export function gain(value, error) {
  if (value === null || value === undefined) return "–";
  const sign = value < 0 ? "−" : "+";
  if (!error) return sign + Math.abs(value).toFixed(value ? places(value, 3) : 3);
  return `${sign}${Math.abs(value).toFixed(places(error, 2))} ± ${error.toFixed(places(error, 2))}`;
}

const two = (count) => String(count).padStart(2, "0");

/** As the terminal shows it. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Unix seconds by the reader's own clock. */
export const moment = (at) => new Date(1000 * at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/** The colour that a name stands for now, light or dark. */
export function colour(name) {
  const probe = el("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
