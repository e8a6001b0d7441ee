// The inbox: what waits, and a form where this page may write.
import { byId, el } from "./dom.js";
import { get, post } from "./net.js";

export function start(control) {
  byId("propose").hidden = !control;
  byId("read-only").hidden = control;
  byId("propose").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [title, patch] = [byId("idea-title"), byId("idea-patch")];
    if (await post("/api/ideas", { title: title.value, patch: patch.value })) {
      title.value = patch.value = "";
      await refresh();
    }
  });
}

export async function refresh() {
  const { ideas, total } = await get("/api/ideas");
  const items = ideas.map((idea) => el("li", {}, el("code", {}, idea.ref), " ", idea.title || `cannot be tried: ${idea.why}`));
  if (total > ideas.length) items.push(el("li", { class: "dim" }, `and ${total - ideas.length} more`));
  if (!items.length) items.push(el("li", { class: "dim" }, "None. What the searches and the model think of never waits here."));
  byId("ideas").replaceChildren(...items);
}
