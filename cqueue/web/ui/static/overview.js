/** The first page: how the queue is, and what happens just now. */

import { ask, look, nodes } from "./api.js";
import { chart } from "./chart.js";
import { fill, h } from "./dom.js";
import { count, happened, rate, short, span } from "./format.js";
import { keepFresh } from "./live.js";
import { queueRows } from "./queues.js";
import { to } from "./router.js";
import { counts, sampler, samples } from "./samples.js";
import { may } from "./session.js";
import { badge, complain, empty, head } from "./widgets.js";
import { enqueueButton } from "./enqueue.js";

const QUEUES_SHOWN = 8;
const EVENTS_SHOWN = 10;

export const route = "GET /jobs/stats";

export function show(main, { signal }) {
  const tiles = h("div", { class: "tiles" });
  const queues = h("section", { class: "card" });
  const activity = h("section", { class: "card", "aria-label": "Activity" });
  const speed = chart(
    "Jobs per second",
    [
      { name: "enqueued", title: "Enqueued", colour: "--blue" },
      { name: "concluded", title: "Concluded", colour: "--green" },
      { name: "failed", title: "Failed", colour: "--red" },
    ],
    { format: rate, signal },
  );
  const depth = chart(
    "Depth",
    [
      { name: "waiting", title: "Waiting", colour: "--violet", area: true },
      { name: "running", title: "In progress", colour: "--amber" },
    ],
    { format: short, whole: true, signal },
  );
  fill(
    main,
    head("Overview", { actions: [enqueueButton()] }),
    tiles,
    h("div", { class: "two" }, speed.element, depth.element),
    h("div", { class: "two wide-first" }, queues, activity),
  );

  let consumers = null;
  const events = [];

  function draw() {
    const now = counts();
    if (now) fill(tiles, tilesOf(now, consumers));
    speed.draw(samples);
    depth.draw(samples);
  }

  async function refresh() {
    try {
      const page = await look("/queues", { limit: QUEUES_SHOWN });
      consumers = await consumersWaiting();
      fill(queues, h("div", { class: "card-head" }, h("h2", {}, "Queues"), page.next && h("a", { href: to(["queues"]) }, "All queues")), queueList(page.queues));
      draw();
    } catch (error) {
      if (!signal.aborted) complain(error);
    }
  }

  function drawActivity() {
    fill(
      activity,
      h("div", { class: "card-head" }, h("h2", {}, "Activity"), h("span", { class: "hint" }, "as it happens")),
      events.length
        ? h("ol", { class: "activity" }, events.map(eventRow))
        : empty("Quiet", "What happens to jobs is shown here as it happens."),
    );
  }

  sampler.addEventListener("sample", draw, { signal });
  drawActivity();
  draw();
  keepFresh(refresh, {
    filter: {},
    signal,
    onEvent: (event) => {
      events.unshift(event);
      events.length = Math.min(events.length, EVENTS_SHOWN);
      drawActivity();
    },
  });
}

const queueList = (queues) =>
  queues.length ? queueRows("Queues", queues) : empty("No queues yet", "A queue is there as soon as a job names it.", h("p", {}, enqueueButton("Enqueue the first job")));

function tilesOf(now, consumers) {
  const { jobs } = now;
  const oldest = now.oldest_created_at ? Math.max(0, (Date.now() - Date.parse(now.oldest_created_at)) / 1000) : null;
  return [
    tile("Waiting", count(jobs.QUEUED + jobs.SCHEDULED), jobs.SCHEDULED ? `${count(jobs.SCHEDULED)} of them scheduled` : "ready to be handed out", to(["jobs"], { status: ["QUEUED", "SCHEDULED"] })),
    tile("In progress", count(jobs.IN_PROGRESS), "held by consumers", to(["jobs"], { status: "IN_PROGRESS" })),
    tile("Dead", count(jobs.DEAD), jobs.DEAD ? "attempts used up" : "none gave up", to(["jobs"], { status: "DEAD" }), jobs.DEAD ? "bad" : ""),
    tile("Oldest waiting", oldest === null ? "–" : span(oldest < 10 ? oldest : Math.floor(oldest)), oldest === null ? "nothing waits" : "since it was created"),
    tile("Consumers waiting", consumers === null ? "–" : count(consumers), consumers === 0 ? "nobody asks for jobs" : "for a job to come"),
    tile("Concluded", short(jobs.CONCLUDED), "still kept", to(["jobs"], { status: "CONCLUDED" })),
  ];
}

function tile(title, value, about, href, kind = "") {
  const inside = [h("span", { class: "tile-title" }, title), h("span", { class: "tile-value" }, value), h("span", { class: "tile-about" }, about)];
  return href && may("GET /jobs") ? h("a", { class: `tile ${kind}`, href, "data-key": title }, inside) : h("div", { class: `tile ${kind}`, "data-key": title }, inside);
}

const eventRow = (event) =>
  h(
    "li",
    { "data-key": `${event.id}-${event.event}-${event.at}` },
    h("time", { datetime: event.at }, event.at.slice(11, 19)),
    h("a", { href: to(["jobs", String(event.id)]) }, `#${event.id}`),
    h("span", { class: "activity-what" }, happened(event.event), " ", h("span", { class: "hint" }, event.queue)),
    event.event === "purge" ? "" : badge(event.status),
  );

/** Over all nodes that answer; each knows its own. */
async function consumersWaiting() {
  if (!may("GET /cluster")) return null;
  const told = await Promise.allSettled(nodes.map((base) => ask(base, "/cluster")));
  const byNode = new Map(told.filter((one) => one.status === "fulfilled").map((one) => [one.value.json.node, one.value.json.consumers_waiting]));
  return byNode.size ? [...byNode.values()].reduce((sum, waiting) => sum + waiting, 0) : null;
}
