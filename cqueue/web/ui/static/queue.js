/** One queue: what is in it, what is set for it, and what can be done to it. */

import { change, look } from "./api.js";
import { fill, h } from "./dom.js";
import { count, rate, span, words } from "./format.js";
import { keepFresh } from "./live.js";
import { pauseButton } from "./queues.js";
import { go, to } from "./router.js";
import { may } from "./session.js";
import { badge, button, complain, confirm, empty, facts, field, head, openDialog, table, toast } from "./widgets.js";
import { enqueueButton } from "./enqueue.js";

export const route = "GET /queues/{name}";

export function show(main, { parts, signal }) {
  const name = parts[1];
  const path = `/queues/${encodeURIComponent(name)}`;

  async function refresh() {
    try {
      const queue = await look(path);
      if (!signal.aborted) fill(main, view(queue, path, refresh));
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === "queue_not_found") {
        fill(main, head(name, { above: crumb() }), empty("There is no such queue", "It has no jobs any more and only default settings, or never had any.", enqueueButton("Enqueue a job", { queue: name })));
      } else complain(error);
    }
  }

  fill(main, head(name, { above: crumb() }));
  keepFresh(refresh, { filter: { queue: name }, signal });
}

const crumb = () => h("a", { class: "crumb", href: to(["queues"]) }, "Queues");

function view(queue, path, refresh) {
  return [
    head(queue.name, {
      above: crumb(),
      beside: queue.paused ? [badge("PAUSED")] : [],
      actions: [
        enqueueButton("Enqueue", { queue: queue.name }),
        may("POST /queues/{name}/pause") && pauseButton(queue, refresh),
        may("POST /queues/{name}/redrive") && queue.jobs.DEAD > 0 && button("Redrive dead", () => redrive(queue, path, refresh)),
        may("POST /queues/{name}/purge") && button("Purge…", () => purge(queue, path, refresh), { kind: "danger-quiet" }),
        may("DELETE /queues/{name}") && button("Delete…", () => remove(queue, path), { kind: "danger-quiet" }),
      ],
    }),
    queue.paused && h("p", { class: "callout" }, "This queue is paused: nothing is handed out. Jobs in progress go on, and new ones are taken."),
    h("section", { class: "tiles compact", "aria-label": "Jobs by status" }, Object.entries(queue.jobs).map(([status, jobs]) => statusTile(queue.name, status, jobs))),
    h(
      "div",
      { class: "two" },
      h(
        "section",
        { class: "card" },
        h("div", { class: "card-head" }, h("h2", {}, "What happened"), h("span", { class: "hint" }, "since the queue is there")),
        table("What happened", [{ title: "Event" }, { title: "Jobs", number: true }, { title: "Per second", number: true }], happened(queue)),
      ),
      settings(queue, path, refresh),
    ),
  ];
}

const statusTile = (name, status, jobs) =>
  h("a", { class: "tile", "data-key": status, href: to(["jobs"], { queue: name, status }) }, h("span", { class: "tile-title" }, badge(status)), h("span", { class: "tile-value" }, count(jobs)));

const happened = (queue) =>
  Object.entries(queue.totals).map(([name, jobs]) => ({ key: name, cells: [words(name), count(jobs), rate(queue.rates[name])] }));

function settings(queue, path, refresh) {
  const set = queue.settings;
  const backoff = `${set.backoff.kind}, ${span(set.backoff.seconds)} to ${span(set.backoff.cap_seconds)}`;
  const priorities = Object.entries(set.priorities).map(([type, priority]) => `${type} ${priority}`);
  return h(
    "section",
    { class: "card", "aria-label": "Settings" },
    h("div", { class: "card-head" }, h("h2", {}, "Settings"), may("PATCH /queues/{name}") && button("Change…", () => configure(queue, path, refresh), { kind: "small" })),
    facts([
      ["In progress at most", set.max_in_progress ? `${count(set.max_in_progress)} jobs` : "any number"],
      ["Handed out at most", set.rate_per_second ? `${set.rate_per_second} a second${set.rate_burst ? `, ${count(set.rate_burst)} at once` : ""}` : "any number"],
      ["Waiting at most", set.max_depth ? `${count(set.max_depth)} jobs` : "no bound of its own"],
      ["Lease", span(set.lease_seconds)],
      ["Attempts", count(set.max_attempts)],
      ["Backoff", backoff],
      ["Priorities", priorities.join(", ") || "500 for all"],
      ["Lease token", set.require_lease_token ? "required" : "optional"],
      ["Finished jobs stay", `${span(set.retention_seconds)}, ${count(set.retention_jobs)} at most`],
    ]),
  );
}

function configure(queue, path, refresh) {
  const set = queue.settings;
  const number = (value, min, max) => h("input", { type: "number", value, min, max, required: true });
  const inputs = {
    max_in_progress: number(set.max_in_progress, 0, 1_000_000_000),
    rate_per_second: h("input", { type: "number", value: set.rate_per_second, min: 0, max: 1_000_000, step: "any", required: true }),
    rate_burst: number(set.rate_burst, 0, 1_000_000),
    max_depth: number(set.max_depth, 0, 1_000_000_000),
    lease_seconds: number(set.lease_seconds, 1, 86_400),
    max_attempts: number(set.max_attempts, 1, 1_000),
    retention_jobs: number(set.retention_jobs, 1, 1_000_000_000),
    retention_seconds: h("input", { type: "number", value: set.retention_seconds, min: 0, max: 316_224_000, step: "any", required: true }),
  };
  const token = h("input", { type: "checkbox", checked: set.require_lease_token });
  openDialog({
    title: `Settings of ${queue.name}`,
    fields: [
      h(
        "div",
        { class: "fields" },
        field("In progress at most", inputs.max_in_progress, "jobs; 0: any number"),
        field("Handed out a second", inputs.rate_per_second, "jobs at most; 0: any number"),
        field("Burst", inputs.rate_burst, "jobs at once after a pause; 0: those of one second"),
        field("Waiting at most", inputs.max_depth, "jobs; 0: no bound"),
        field("Attempts", inputs.max_attempts, "for jobs that do not say"),
        field("Lease", inputs.lease_seconds, "seconds, for jobs that do not say"),
        field("Finished jobs kept", inputs.retention_jobs, "at most"),
        field("Finished jobs stay", inputs.retention_seconds, "seconds"),
      ),
      h("label", { class: "check" }, token, "Who concludes a job must show its lease token"),
    ],
    submit: "Save",
    onSubmit: async () => {
      const changed = Object.entries(inputs).filter(([name, input]) => Number(input.value) !== set[name]);
      const said = Object.fromEntries(changed.map(([name, input]) => [name, Number(input.value)]));
      if (token.checked !== set.require_lease_token) said.require_lease_token = token.checked;
      if (Object.keys(said).length) await change("PATCH", path, said);
      toast(`The settings of ${queue.name} are saved`);
      refresh();
    },
  });
}

const PURGED = ["SCHEDULED", "QUEUED", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"];

function purge(queue, path, refresh) {
  const boxes = PURGED.map((status) => [status, h("input", { type: "checkbox", value: status, checked: status === "QUEUED" || status === "SCHEDULED" })]);
  confirm({
    title: `Purge ${queue.name}?`,
    text: "These jobs are forgotten, with all that is known of them. This cannot be undone.",
    fields: [
      h(
        "fieldset",
        {},
        h("legend", {}, "Jobs that are"),
        boxes.map(([status, box]) => h("label", { class: "check" }, box, badge(status), h("span", { class: "hint" }, count(queue.jobs[status])))),
      ),
    ],
    submit: "Purge",
    onSubmit: async () => {
      const statuses = boxes.filter(([, box]) => box.checked).map(([status]) => status);
      if (!statuses.length) throw new Error("Choose at least one status.");
      const { matched, done } = await change("POST", `${path}/purge`, { statuses }, { keyed: false });
      toast(`${count(matched)} jobs are forgotten${done ? "" : "; there are more: purge again"}`);
      refresh();
    },
  });
}

function redrive(queue, path, refresh) {
  openDialog({
    title: `Redrive ${queue.name}?`,
    text: `All ${count(queue.jobs.DEAD)} dead jobs get their attempts again and are queued.`,
    submit: "Redrive",
    onSubmit: async () => {
      const { matched, done } = await change("POST", `${path}/redrive`, undefined, { keyed: false });
      toast(`${count(matched)} jobs are queued again${done ? "" : "; there are more: redrive again"}`);
      refresh();
    },
  });
}

function remove(queue, path) {
  confirm({
    title: `Delete ${queue.name}?`,
    text: "Its settings, its totals and its finished jobs are forgotten. That is possible only while nothing waits in it or runs. This cannot be undone.",
    submit: "Delete",
    onSubmit: async () => {
      await change("DELETE", path);
      toast(`${queue.name} is deleted`);
      go(["queues"]);
    },
  });
}
