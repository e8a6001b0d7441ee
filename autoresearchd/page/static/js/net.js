// Asking the server, and being told by it.
import { byId } from "./dom.js";

let form = "";

export function rights(found) {
  form = found.form;
}

export async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Ask for something, and say what came of it. */
export async function post(path, body = {}) {
  const headers = { "content-type": "application/json", "x-autoresearchd-form": form };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const words = answer.ok ? (await answer.json()).said : await answer.text();
  say(words, !answer.ok);
  return answer.ok;
}

export function say(words, refused = false) {
  const said = byId("said");
  said.textContent = words;
  said.classList.toggle("refused", refused);
}

/** Calls `status` and `experiments` as news come; `lost` while there is no connection. */
export function listen({ status, experiments, lost }) {
  const events = new EventSource("/events");
  let opened = false;
  events.addEventListener("open", () => {
    if (opened) experiments(); // what happened while nobody listened
    opened = true;
  });
  events.addEventListener("status", (event) => status(JSON.parse(event.data)));
  events.addEventListener("experiments", () => experiments());
  events.addEventListener("error", () => lost());
}

/** The same function, run at once and then at most once in so many milliseconds. */
export function seldom(act, milliseconds) {
  let timer = null;
  let again = false;
  const run = async () => {
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        again = false;
        run();
      }
    }, milliseconds);
    try {
      await act();
    } catch (error) {
      say(error.message, true);
    }
  };
  return () => (timer === null ? run() : (again = true));
}
