/** A job by hand. */

import { change, look } from "./api.js";
import { h, icon } from "./dom.js";
import { go } from "./router.js";
import { may } from "./session.js";
import { field, openDialog, toast } from "./widgets.js";

const NAMES_SHOWN = 100;

/** A button that opens the form; nothing for who may not enqueue. given: what the form has already. */
export const enqueueButton = (text = "Enqueue", given = {}, kind = "primary") =>
  may("PUT /jobs/enqueue") && h("button", { type: "button", class: `button ${kind}`, onclick: () => open(given) }, icon("plus"), text);

function open(given) {
  const names = h("datalist", { id: "queue-names" });
  const queue = h("input", { value: given.queue ?? "default", required: true, maxlength: 128, list: "queue-names", spellcheck: "false" });
  const type = h("input", { value: given.type ?? "NOT_TIME_CRITICAL", required: true, maxlength: 128, list: "type-names", spellcheck: "false" });
  const payload = h("textarea", { rows: 6, spellcheck: "false", class: "code" }, given.payload ?? "{}");
  const delay = h("input", { type: "number", min: 0, max: 31_622_400, step: "any", placeholder: "0" });
  const priority = h("input", { type: "number", min: 0, max: 1_000, placeholder: "by type" });
  const attempts = h("input", { type: "number", min: 1, max: 1_000, placeholder: "as the queue says" });
  const tags = h("input", { placeholder: "campaign:spring, to:ada", spellcheck: "false" });
  const unique = h("input", { maxlength: 255, spellcheck: "false" });

  openDialog({
    title: "Enqueue a job",
    fields: [
      names,
      h("datalist", { id: "type-names" }, h("option", { value: "NOT_TIME_CRITICAL" }), h("option", { value: "TIME_CRITICAL" })),
      h("div", { class: "fields" }, field("Queue", queue), field("Type", type)),
      field("Payload", payload, "any JSON value"),
      h(
        "details",
        {},
        h("summary", {}, "More"),
        h(
          "div",
          { class: "fields" },
          field("Delay", delay, "seconds"),
          field("Priority", priority, "0 is served first, 1000 last"),
          field("Attempts", attempts, "at most"),
          field("Unique key", unique, "one live job for each"),
        ),
        field("Tags", tags, "name:value, with commas between"),
      ),
    ],
    submit: "Enqueue",
    onSubmit: async () => {
      const said = { queue: queue.value, type: type.value };
      if (delay.value) said.delay_seconds = Number(delay.value);
      if (priority.value) said.priority = Number(priority.value);
      if (attempts.value) said.max_attempts = Number(attempts.value);
      if (unique.value) said.unique_key = unique.value;
      if (tags.value.trim()) said.tags = tagsOf(tags.value);
      const { id, duplicate } = await change("PUT", "/jobs/enqueue", withPayload(said, payload.value));
      toast(duplicate ? `Job ${id} has that unique key: nothing was added` : `Job ${id} is enqueued`);
      go(["jobs", String(id)]);
    },
  });
  payload.focus();
  if (may("GET /queues")) offer(names);
}

async function offer(names) {
  try {
    const page = await look("/queues", { limit: NAMES_SHOWN });
    names.append(...page.queues.map((one) => h("option", { value: one.name })));
  } catch {
    // The form works without suggestions.
  }
}

/** The body, with the payload exactly as it was typed: JavaScript would round what it cannot hold. */
function withPayload(said, text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`The payload is no JSON: ${error.message}`);
  }
  return `${JSON.stringify(said).slice(0, -1)},"payload":${text}}`;
}

function tagsOf(text) {
  const pairs = text.split(",").map((one) => one.trim()).filter(Boolean);
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf(":");
      if (at < 1) throw new Error(`The tag ${pair} is not name:value.`);
      return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
    }),
  );
}
