/** Jobs, found by what they are, a page at a time. What is looked for is in the address. */

import { look } from "./api.js";
import { fill, h } from "./dom.js";
import { ago, clock, count, happened, words } from "./format.js";
import { keepFresh } from "./live.js";
import { go, to } from "./router.js";
import { may } from "./session.js";
import { badge, button, empty, field, head, table, toast } from "./widgets.js";
import { enqueueButton } from "./enqueue.js";

const LIMIT = 50;
const STATUSES = ["QUEUED", "SCHEDULED", "IN_PROGRESS", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"];
const ORDERS = ["newest", "oldest"];
const COLUMNS = [
  { title: "Job" },
  { title: "Status" },
  { title: "Queue", minor: true },
  { title: "Type" },
  { title: "Attempt", number: true, minor: true },
  { title: "What went wrong last", minor: true },
  { title: "Created", number: true },
];

// What is there for somebody who may look at jobs only by their ids.
export const route = "GET /jobs/{id}";

export function show(main, { query, signal }) {
  const list = h("section", { class: "card", "data-own": true });
  const bar = head("Jobs", { actions: [finder(), enqueueButton()] });
  if (!may("GET /jobs")) {
    fill(main, bar, empty("Jobs by their ids", "Your token is not for lists of jobs: go to one by its id."));
    return;
  }
  const filter = Object.fromEntries(["queue", "type", "tag", "status"].map((name) => [name, query.getAll(name)]));
  const asked = { ...filter, order: query.get("order") ?? "newest" };
  fill(main, bar, form(filter, asked.order), list);

  async function refresh() {
    try {
      const page = await look("/jobs", { ...asked, limit: LIMIT, cursor: query.get("cursor") });
      fill(list, results(page, filter), pages(page, asked, query.get("cursor")));
    } catch (error) {
      if (!signal.aborted) fill(list, empty("This cannot be looked for", error.message));
    }
  }
  // What has happened to a job that no longer fits is no event that fits: so follow by queue and type alone.
  keepFresh(refresh, { filter: { queue: filter.queue.slice(0, 1), type: filter.type }, signal });
}

/** Goes to a job by its id. */
function finder() {
  const id = h("input", {
    name: "id",
    inputmode: "numeric",
    pattern: "[1-9][0-9]{0,18}",
    required: true,
    placeholder: "Job id",
    "aria-label": "Job id",
    title: "a whole number from 1 on",
  });
  const submit = (event) => {
    event.preventDefault();
    go(["jobs", new FormData(event.currentTarget).get("id")]);
  };
  return h("form", { class: "finder", onsubmit: submit, "aria-label": "Go to a job" }, id, h("button", { class: "button" }, "Go"));
}

function form(filter, order) {
  const text = (name, value, placeholder) => h("input", { name, value, placeholder, spellcheck: "false" });
  const search = (event) => find(event.currentTarget.form);
  return h(
    "form",
    {
      class: "card filter",
      "aria-label": "Filter",
      onsubmit: (event) => {
        event.preventDefault();
        find(event.currentTarget);
      },
    },
    h(
      "fieldset",
      { class: "chips" },
      h("legend", { class: "unseen" }, "Status"),
      STATUSES.map((status) =>
        h("label", { class: "chip" }, h("input", { type: "checkbox", name: "status", value: status, checked: filter.status.includes(status), onchange: search }), badge(status)),
      ),
    ),
    h(
      "div",
      { class: "fields" },
      field("Queue", text("queue", filter.queue[0] ?? "", "any")),
      field("Type", text("type", filter.type.join(", "), "any")),
      field("Tag", text("tag", filter.tag.join(", "), "name:value")),
      field("Order", h("select", { name: "order", onchange: search }, ORDERS.map((one) => h("option", { value: one, selected: one === order }, `${words(one)} first`)))),
      h("div", { class: "actions" }, button("Clear", () => go(["jobs"])), h("button", { class: "button primary" }, "Search")),
    ),
  );
}

/** Look for what a form says. */
function find(form) {
  const said = new FormData(form);
  const many = (name) => said.get(name).split(",").map((one) => one.trim()).filter(Boolean);
  const order = said.get("order");
  go(["jobs"], { queue: said.get("queue").trim(), type: many("type"), tag: many("tag"), status: said.getAll("status"), order: order === "newest" ? "" : order });
}

function results(page, filter) {
  if (page.jobs.length) return table("Jobs", COLUMNS, page.jobs.map(row));
  if (page.next) return empty("None among those looked at so far", "There are many jobs: go on to look at more.");
  const isFiltered = Object.values(filter).some((values) => values.length);
  return isFiltered ? empty("No job fits", "Change the filter, or clear it.") : empty("No jobs yet", "Jobs are shown here as soon as somebody enqueues them.");
}

function row(job) {
  const error = job.errors?.at(-1);
  return {
    key: job.id,
    cells: [
      h("a", { class: "id", href: to(["jobs", String(job.id)]) }, `#${job.id}`),
      badge(job.status),
      job.queue,
      h("span", { class: "name" }, job.type),
      `${count(job.attempt)} of ${count(job.max_attempts)}`,
      h("span", { class: "clip" }, error ? (error.error ?? happened(error.event)) : ""),
      h("time", { datetime: job.created_at, title: clock(job.created_at) }, ago(job.created_at)),
    ],
  };
}

function pages(page, asked, cursor) {
  const query = { ...asked, order: asked.order === "newest" ? "" : asked.order };
  return (
    (page.next || cursor) &&
    h(
      "nav",
      { class: "pages", "aria-label": "Pages" },
      cursor && h("a", { class: "button", href: to(["jobs"], query) }, "First page"),
      page.next && h("a", { class: "button", href: to(["jobs"], { ...query, cursor: page.next }) }, page.jobs.length ? "Next page" : "Go on"),
    )
  );
}
