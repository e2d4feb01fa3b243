/** All queues, a page at a time. */

import { change, look } from "./api.js";
import { fill, h } from "./dom.js";
import { count, rate, span } from "./format.js";
import { keepFresh } from "./live.js";
import { to } from "./router.js";
import { may } from "./session.js";
import { attempt, badge, button, complain, empty, head, table } from "./widgets.js";
import { enqueueButton } from "./enqueue.js";

const LIMIT = 50;
const COLUMNS = [
  { title: "Queue" },
  { title: "Waiting", number: true },
  { title: "In progress", number: true },
  { title: "Dead", number: true },
  { title: "Enqueued/s", number: true, minor: true },
  { title: "Concluded/s", number: true, minor: true },
  { title: "Oldest", number: true, minor: true },
];

export const route = "GET /queues";

export function show(main, { query, signal }) {
  const list = h("section", { class: "card" });
  fill(main, head("Queues", { actions: [enqueueButton()] }), list);

  async function refresh() {
    try {
      const page = await look("/queues", { limit: LIMIT, cursor: query.get("cursor") });
      fill(
        list,
        page.queues.length ? queueRows("Queues", page.queues, refresh) : empty("No queues yet", "A queue is there as soon as a job names it."),
        (page.next || query.get("cursor")) &&
          h(
            "nav",
            { class: "pages", "aria-label": "Pages" },
            query.get("cursor") && h("a", { class: "button", href: to(["queues"]) }, "First page"),
            page.next && h("a", { class: "button", href: to(["queues"], { cursor: page.next }) }, "Next page"),
          ),
      );
    } catch (error) {
      if (!signal.aborted) complain(error);
    }
  }

  keepFresh(refresh, { filter: {}, signal });
}

/** A table of queues; with `refresh`, each has a button to pause or resume it. */
export function queueRows(caption, queues, refresh = null) {
  const acts = refresh && may("POST /queues/{name}/pause");
  const columns = acts ? [...COLUMNS, { title: "Actions", unseen: true, number: true, minor: true }] : COLUMNS;
  const rows = queues.map((queue) => ({
    key: queue.name,
    cells: [
      [h("a", { class: "name", href: to(["queues", queue.name]) }, queue.name), queue.paused && [" ", badge("PAUSED")]],
      count(queue.depth),
      count(queue.jobs.IN_PROGRESS),
      queue.jobs.DEAD ? h("span", { class: "bad-text" }, count(queue.jobs.DEAD)) : "0",
      rate(queue.rates.enqueued),
      rate(queue.rates.concluded),
      queue.oldest_age_seconds === undefined ? "–" : span(Math.floor(queue.oldest_age_seconds)),
      acts && pauseButton(queue, refresh, { "aria-label": `${queue.paused ? "Resume" : "Pause"} ${queue.name}`, kind: "small" }),
    ].slice(0, columns.length),
  }));
  return table(caption, columns, rows);
}

/** Pauses a queue, or resumes it. */
export const pauseButton = (queue, refresh, attributes = {}) =>
  button(
    queue.paused ? "Resume" : "Pause",
    async () => {
      const verb = queue.paused ? "resume" : "pause";
      const path = `/queues/${encodeURIComponent(queue.name)}/${verb}`;
      if (await attempt(() => change("POST", path), `${queue.name} is ${verb}d`)) refresh();
    },
    attributes,
  );
