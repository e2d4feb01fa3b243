/** One job: what it is, why it is not running, what happened to it, and what can be done about it. */

import { change, look, looked } from "./api.js";
import { fill, h } from "./dom.js";
import { ago, clock, count, happened, span } from "./format.js";
import { member } from "./json.js";
import { keepFresh } from "./live.js";
import { go, to } from "./router.js";
import { may } from "./session.js";
import { attempt, badge, button, complain, confirm, empty, facts, head, toast } from "./widgets.js";
import { enqueueButton } from "./enqueue.js";

const CANCELLABLE = ["QUEUED", "SCHEDULED", "IN_PROGRESS"];
const REASONS = {
  next: () => "Nothing is before it: it waits for a consumer that takes its type and tags.",
  behind: ({ ahead }) => `${count(ahead)} ${ahead === 1 ? "job is" : "jobs are"} handed out before it.`,
  queue_paused: () => "Its queue is paused.",
  in_progress_limit: () => "As many jobs of its queue are held as may be.",
  rate_limit: ({ until }) => `Jobs of its queue are not handed out faster; the next one goes ${ago(until)}.`,
  delayed: ({ until }) => `It was enqueued for later: ${ago(until)}.`,
  backing_off: ({ until }) => `An attempt failed; the next one is possible ${ago(until)}.`,
  held: ({ until }) => `A consumer has it. Its lease ends ${ago(until)}.`,
  cancel_requested: () => "That consumer was asked to stop.",
};

export const route = "GET /jobs/{id}";

export function show(main, { parts, signal }) {
  const id = parts[1];
  const path = `/jobs/${encodeURIComponent(id)}`;

  async function refresh() {
    try {
      const [found, history, why] = await Promise.all([looked(path), look(`${path}/history`), look(`${path}/explain`)]);
      if (!signal.aborted) fill(main, view(found, history, why, path, refresh));
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === "gone") fill(main, head(`Job ${id}`, { above: crumb() }), empty("Forgotten", "It finished and was not kept any longer, or it was purged."));
      else if (error.code === "not_found") fill(main, head(`Job ${id}`, { above: crumb() }), empty("There is no such job", "Nobody was given this id, or it is in a queue that is not yours."));
      else complain(error);
    }
  }

  fill(main, head(`Job ${id}`, { above: crumb() }));
  keepFresh(refresh, { filter: { job: id }, everyMs: 2_000, signal });
}

const crumb = () => h("a", { class: "crumb", href: to(["jobs"]) }, "Jobs");

function view({ json: job, text }, history, why, path, refresh) {
  return [
    head(`Job ${job.id}`, { above: crumb(), beside: [badge(job.status)], actions: actions(job, text, path, refresh) }),
    explained(why),
    h(
      "div",
      { class: "two wide-first" },
      h("div", { class: "column" }, block("Payload", member(text, "payload")), "result" in job && block("Result", member(text, "result")), job.errors && errors(job)),
      h("div", { class: "column" }, about(job), timeline(history)),
    ),
  ];
}

function actions(job, text, path, refresh) {
  const act = async (verb, said) => (await attempt(() => change("POST", `${path}/${verb}`), said)) && refresh();
  return [
    may("POST /jobs/{id}/redrive") && job.status === "DEAD" && button("Redrive", () => act("redrive", `Job ${job.id} is queued again`), { kind: "primary" }),
    may("POST /jobs/{id}/cancel") && CANCELLABLE.includes(job.status) && !job.cancel_requested && button("Cancel…", () => cancel(job, path, refresh), { kind: "danger-quiet" }),
    enqueueButton("Enqueue another", { queue: job.queue, type: job.type, payload: member(text, "payload") }, ""),
    may("POST /jobs/{id}/purge") && job.status !== "IN_PROGRESS" && button("Forget…", () => purge(job, path), { kind: "danger-quiet" }),
  ];
}

function cancel(job, path, refresh) {
  const runs = job.status === "IN_PROGRESS";
  confirm({
    title: `Cancel job ${job.id}?`,
    text: runs ? "Its consumer is asked to stop. However the attempt ends then, the job is cancelled." : "It is cancelled at once, and nobody is handed it. This cannot be undone.",
    submit: "Cancel the job",
    onSubmit: async () => {
      await change("POST", `${path}/cancel`);
      toast(runs ? `The consumer of job ${job.id} is asked to stop` : `Job ${job.id} is cancelled`);
      refresh();
    },
  });
}

function purge(job, path) {
  confirm({
    title: `Forget job ${job.id}?`,
    text: "The job is gone, with all that is known of it. This cannot be undone.",
    submit: "Forget it",
    onSubmit: async () => {
      await change("POST", `${path}/purge`);
      toast(`Job ${job.id} is forgotten`);
      go(["jobs"]);
    },
  });
}

function explained(why) {
  const reasons = why.reasons.filter((reason) => reason in REASONS).map((reason) => REASONS[reason](why));
  return reasons.length > 0 && h("p", { class: "callout" }, reasons.join(" "));
}

const block = (title, text) =>
  h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", {}, title)), h("pre", { class: "code", tabindex: "0", "aria-label": title }, text));

const errors = (job) =>
  h(
    "section",
    { class: "card", "aria-label": "Errors" },
    h("div", { class: "card-head" }, h("h2", {}, "Errors"), h("span", { class: "hint" }, `${count(job.errors.length)} failed ${job.errors.length === 1 ? "attempt" : "attempts"}`)),
    h(
      "ol",
      { class: "errors" },
      job.errors.map((error, number) =>
        h(
          "li",
          { "data-key": number },
          h("div", { class: "row" }, h("b", {}, `Attempt ${error.attempt}`), h("span", { class: "hint" }, happened(error.event), error.consumer && ` · ${error.consumer}`, " · ", h("time", { datetime: error.at }, clock(error.at)))),
          error.error && h("pre", { class: "code bad", tabindex: "0", "aria-label": `Error of attempt ${error.attempt}` }, error.error),
        ),
      ),
    ),
  );

const moment = (text) => [h("time", { datetime: text }, clock(text)), " ", h("span", { class: "hint" }, ago(text))];

const about = (job) =>
  h(
    "section",
    { class: "card", "aria-label": "About" },
    h("div", { class: "card-head" }, h("h2", {}, "About")),
    facts([
      ["Queue", may("GET /queues/{name}") ? h("a", { href: to(["queues", job.queue]) }, job.queue) : job.queue],
      ["Type", job.type],
      ["Priority", count(job.priority)],
      ["Attempt", `${count(job.attempt)} of ${count(job.max_attempts)}`],
      ["Created", ...moment(job.created_at)],
      job.run_at && ["Runs", ...moment(job.run_at)],
      job.consumer && ["Consumer", job.consumer],
      job.lease_expires_at && ["Lease ends", ...moment(job.lease_expires_at)],
      job.lease_token && ["Lease token", String(job.lease_token)],
      job.expires_at && ["Expires", ...moment(job.expires_at)],
      job.finished_at && ["Finished", ...moment(job.finished_at)],
      job.finished_at && ["Took", span((Date.parse(job.finished_at) - Date.parse(job.created_at)) / 1000)],
      job.unique_key && ["Unique key", job.unique_key],
      job.progress && ["Progress", progress(job.progress)],
      job.tags && ["Tags", h("span", { class: "tags" }, Object.entries(job.tags).map(([name, value]) => h("span", { class: "tag" }, `${name}:${value}`)))],
    ]),
  );

const progress = ({ percent, note }) => [
  percent !== undefined && [h("progress", { max: 100, value: percent, "aria-label": "Progress" }), ` ${percent} % `],
  note,
];

const timeline = (history) =>
  h(
    "section",
    { class: "card", "aria-label": "History" },
    h("div", { class: "card-head" }, h("h2", {}, "History"), history.forgotten && h("span", { class: "hint" }, `${count(history.forgotten)} older changes are not kept`)),
    h("ol", { class: "timeline" }, history.changes.map(changed)),
  );

function changed(one, number, all) {
  const before = all[number - 1];
  const after = before && (Date.parse(one.at) - Date.parse(before.at)) / 1000;
  return h(
    "li",
    { "data-key": `${one.index}-${number}`, "data-status": one.status },
    h("div", { class: "row" }, h("b", {}, happened(one.event)), badge(one.status)),
    h(
      "div",
      { class: "hint" },
      h("time", { datetime: one.at }, clock(one.at)),
      before && ` · ${after < 0.0005 ? "at once" : `${span(after)} later`}`,
      one.attempt && ` · attempt ${one.attempt}`,
      one.consumer && ` · ${one.consumer}`,
    ),
    one.error && h("div", { class: "timeline-error" }, one.error),
  );
}
