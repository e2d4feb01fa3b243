/** The page: its bar, its views, and what is said when nodes come and go. */

import { node, nodes, wire } from "./api.js";
import * as cluster from "./cluster.js";
import { fill, h, icon } from "./dom.js";
import { words } from "./format.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as overview from "./overview.js";
import * as queue from "./queue.js";
import * as queues from "./queues.js";
import { place, to } from "./router.js";
import { start } from "./samples.js";
import { begin, caller, hasToken, may, signOut } from "./session.js";
import { empty, head, toast } from "./widgets.js";

const AGAIN_MS = 2_000;
const VIEWS = [
  { name: "Overview", parts: [], views: [overview] },
  { name: "Queues", parts: ["queues"], views: [queues, queue] },
  { name: "Jobs", parts: ["jobs"], views: [jobs, job] },
  { name: "Cluster", parts: ["cluster"], views: [cluster] },
];

const main = document.getElementById("main");
const notice = document.getElementById("notice");
let shown = new AbortController();
let shownPath = null;

function showView() {
  const { parts, query } = place();
  const at = VIEWS.find((one) => one.parts[0] === parts[0]);
  const view = at?.views[Math.max(0, parts.length - 1)];
  const path = location.hash.split("?")[0];
  shown.abort();
  shown = new AbortController();
  if (path !== shownPath) fill(main);
  fill(document.getElementById("nav"), links(at));
  if (!view) fill(main, head("Not here"), empty("There is no such view", "", h("a", { href: to([]) }, "Go to the overview")));
  else if (!may(view.route)) fill(main, head(at.name), empty("This is not for you", `Your token may not call ${view.route}.`));
  else view.show(main, { parts, query, signal: shown.signal });
  document.title = `${main.querySelector("h1")?.textContent ?? at?.name} – cqueue`;
  // Who reads with their ears hears where they are; at first the page says so itself.
  if (shownPath !== null && path !== shownPath) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shownPath = path;
}

const links = (at) =>
  VIEWS.filter(({ views }) => may(views[0].route)).map((one) => h("a", { href: to(one.parts), "aria-current": one === at && "page" }, one.name));

function drawTools() {
  const chosen = window.theme.chosen;
  const host = new URL(node()).host;
  fill(
    document.getElementById("tools"),
    nodes.length > 1 && h("span", { class: "node", title: "the node that answers" }, host),
    h(
      "button",
      {
        type: "button",
        class: "plain",
        id: "theme",
        "aria-label": `Colours: ${chosen}`,
        title: `Colours: ${chosen}`,
        onclick: () => {
          window.theme.turn();
          drawTools();
        },
      },
      icon({ auto: "auto", light: "sun", dark: "moon" }[chosen]),
    ),
    hasToken() &&
      h(
        "button",
        { type: "button", class: "who", "aria-label": `Sign out ${caller().name}`, title: "Sign out", onclick: signOut },
        h("span", { class: "who-name" }, caller().name, " ", h("span", { class: "hint" }, caller().roles.map(words).join(", "))),
        icon("out"),
      ),
  );
}

wire.addEventListener("node", () => {
  toast(`Going on with ${new URL(node()).host}`);
  drawTools();
});
wire.addEventListener("offline", () => fill(notice, h("p", {}, nodes.length > 1 ? "No node answers. " : "The node does not answer. ", "This page tries again by itself.")));
wire.addEventListener("online", () => fill(notice));

const skip = document.getElementById("skip");
skip.onclick = (event) => {
  event.preventDefault();
  main.focus();
};

async function run() {
  for (;;) {
    try {
      await begin();
      break;
    } catch (error) {
      fill(main, empty("Not yet", error.message));
      await new Promise((settle) => setTimeout(settle, AGAIN_MS));
    }
  }
  drawTools();
  addEventListener("hashchange", showView);
  showView();
  if (may("GET /jobs/stats")) start();
}

run();
