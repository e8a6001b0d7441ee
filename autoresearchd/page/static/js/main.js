// Puts the parts together: read once, then be told.
import { byId } from "./dom.js";
import { get, listen, rights, say, seldom } from "./net.js";
import * as curves from "./curves.js";
import * as detail from "./detail.js";
import * as ideas from "./ideas.js";
import * as kept from "./kept.js";
import * as now from "./now.js";
import * as staircase from "./staircase.js";
import * as table from "./table.js";

let best = null;

async function overview() {
  const found = await get("/api/lab");
  rights(found);
  best = found.best?.number ?? null;
  now.overview(found);
  now.status(found.status);
  ideas.status(found.status);
  kept.overview(found);
  table.verdicts(found.verdicts);
  return found;
}

const compare = seldom(() => curves.refresh(best, table.compared()), 300);

// One after the other: the ledger answers in one thread, and what is seen first comes first.
const everything = seldom(async () => {
  await overview();
  await table.refresh();
  await staircase.refresh();
  await ideas.refresh();
  if (detail.opened() !== null) await detail.show();
  compare();
}, 1500);

async function start() {
  const found = await overview();
  now.switches(found.control);
  ideas.start(found.control);
  detail.start(found.control);
  table.start(compare);
  listen({
    status: (status) => {
      now.status(status);
      ideas.status(status);
      curves.training(status.live);
    },
    experiments: everything,
    lost: () => {
      byId("state").textContent = "no connection to the page's server; trying again";
      byId("state").dataset.state = "held";
    },
  });
  everything();
  detail.show();
}

start().catch((error) => say(error.message, true));
