// The inbox: what waits, and a form where this page may write.
import { byId, el, moment } from "./dom.js";
import { get, post } from "./net.js";

export function start(control) {
  byId("propose").hidden = byId("wish").hidden = !control;
  byId("read-only").hidden = control;
  byId("propose").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [title, patch] = [byId("idea-title"), byId("idea-patch")];
    if (await post("/api/ideas", { title: title.value, patch: patch.value })) {
      title.value = patch.value = "";
      await refresh();
    }
  });
  byId("wish").addEventListener("submit", async (event) => {
    event.preventDefault();
    const words = byId("wish-words");
    if (await post("/api/ideas", { words: words.value })) {
      words.value = "";
      await refresh();
    }
  });
}

/** Why wishes wait, from the status. */
export function status(found) {
  const many = found.wishes ?? 0;
  byId("wishes-wait").hidden = !many;
  byId("wishes-wait").textContent = `${many} ${many === 1 ? "wish waits" : "wishes wait"} for the language model${found.wishes_why ? `: ${found.wishes_why}` : ""}.`;
}

export async function refresh() {
  const { ideas, total, refused } = await get("/api/ideas");
  const items = ideas.map((idea) => el("li", {}, el("code", {}, idea.ref), idea.is_wish ? " wish: " : " ", idea.title || `cannot be tried: ${idea.why}`));
  if (total > ideas.length) items.push(el("li", { class: "dim" }, `and ${total - ideas.length} more`));
  if (!items.length) items.push(el("li", { class: "dim" }, "None. What the searches and the model think of never waits here."));
  byId("ideas").replaceChildren(...items);
  byId("refused").replaceChildren(...refused.map((idea) => el("li", {}, `Not tried: ${idea.title || idea.ref} (${idea.why}), ${moment(idea.at)}`)));
}
