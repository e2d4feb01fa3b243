/** What several views are made of: dialogs, badges, tables, empty states, messages. */

import { Unreachable } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { words } from "./format.js";

const TOAST_MS = 6_000;
let lastId = 0;

/** A status in words, with its colour beside them. */
export const badge = (status, text = words(status)) => h("span", { class: "badge", "data-status": status }, text);

/** What stands where there is nothing. */
export const empty = (title, text, ...more) => h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, text), more);

/** The head of a view: its title, what is beside it, and what can be done. */
export function head(title, { beside = [], actions = [], above = null } = {}) {
  return h(
    "div",
    { class: "head" },
    h("div", { class: "head-title" }, above, h("div", { class: "row" }, h("h1", { tabindex: "-1" }, title), beside)),
    h("div", { class: "actions" }, actions),
  );
}

/** A button. kind: "primary", "danger" or nothing. */
export const button = (text, onclick, { kind = "", ...attributes } = {}) =>
  h("button", { type: "button", class: `button ${kind}`, onclick, ...attributes }, text);

/**
 * A table. columns: [{title, number, minor}]: `number` is set to the right, `minor` is left out where there is no room.
 * rows: [{key, cells}].
 */
export function table(caption, columns, rows) {
  const kind = (column) => [column.number && "number", column.minor && "minor"].filter(Boolean).join(" ") || null;
  return h(
    "div",
    { class: "table", role: "region", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.unseen ? h("span", { class: "unseen" }, column.title) : column.title)))),
      h(
        "tbody",
        {},
        rows.map(({ key, cells }) =>
          h("tr", { "data-key": key }, cells.map((cell, position) => h("td", { class: kind(columns[position]) }, cell))),
        ),
      ),
    ),
  );
}

/** Pairs of a name and a value. */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, ...value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** A label around a field, with a hint. */
export function field(name, input, hint = "") {
  input.id ||= `field-${(lastId += 1)}`;
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, name),
    input,
    hint && h("span", { class: "hint", id: `${input.id}-hint` }, hint),
  );
}

/** Say that looking failed. That no node answers is said elsewhere, for as long as it is so. */
export function complain(error) {
  if (!(error instanceof Unreachable)) toast(error.message, "bad");
}

/** Say something in passing, once. kind: "good" or "bad". */
export function toast(text, kind = "good") {
  const toasts = document.getElementById("toasts");
  for (const other of [...toasts.children]) if (other.firstChild.textContent === text) other.remove();
  const close = () => element.remove();
  const element = h(
    "div",
    { class: `toast ${kind}` },
    h("span", {}, text),
    h("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: close }, icon("close")),
  );
  toasts.append(element);
  setTimeout(close, TOAST_MS);
}

/** Do what a button says, say how it went, and return whether it went well. */
export async function attempt(what, good) {
  try {
    const result = await what();
    if (good) toast(typeof good === "function" ? good(result) : good);
    return true;
  } catch (error) {
    toast(error.message, "bad");
    return false;
  }
}

/**
 * A dialog with a form. onSubmit: may throw what is then shown in it. kind: of the button that submits.
 * mustAnswer: there is no way around it.
 */
export function openDialog({ title, text, fields = [], submit, kind = "primary", mustAnswer = false, onSubmit }) {
  const id = `dialog-${(lastId += 1)}`;
  let isAnswered = false;
  const wrong = h("p", { class: "wrong", role: "alert" });
  const send = h("button", { type: "submit", class: `button ${kind}` }, submit);
  const cancel = !mustAnswer && button("Cancel", () => dialog.close());
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id }, title),
    text && h("p", { class: "text" }, text),
    fields,
    wrong,
    h("div", { class: "actions" }, cancel, send),
  );
  const dialog = h("dialog", { "aria-labelledby": id, class: kind === "danger" ? "danger" : null }, form);
  form.onsubmit = async (event) => {
    event.preventDefault();
    send.disabled = true;
    fill(wrong);
    try {
      await onSubmit();
      isAnswered = true;
      dialog.close();
    } catch (error) {
      fill(wrong, error.message);
      send.disabled = false;
    }
  };
  dialog.oncancel = (event) => {
    if (mustAnswer) event.preventDefault();
  };
  dialog.onclose = () => {
    // A browser lets a second Escape close it all the same.
    if (mustAnswer && !isAnswered) dialog.showModal();
    else dialog.remove();
  };
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask before something that cannot be undone. onSubmit as above. */
export const confirm = (question) => openDialog({ kind: "danger", ...question });
