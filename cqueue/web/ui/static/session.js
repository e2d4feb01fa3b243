/** Who uses the page: their token, in this tab only, and what they may do with it. */

import { look, useToken } from "./api.js";
import { h } from "./dom.js";
import { openDialog } from "./widgets.js";

const KEY = "cqueue.token";

let who = { name: "", roles: [], queues: null, routes: [] };
let asking = null;

/** The caller, as GET /whoami tells. */
export const caller = () => who;

/** Whether the caller may call a route, spelt as in the protocol. */
export const may = (route) => who.routes.includes(route);

/** Whether a token is shown. */
export const hasToken = () => kept() !== null;

/** Learn who the caller is; asks for a token where the node does. */
export async function begin() {
  useToken(kept(), askForToken);
  who = await look("/whoami");
}

/** Forget the token and begin anew. */
export function signOut() {
  keep(null);
  location.reload();
}

/** Ask for a token, once, however many calls wait for it. */
function askForToken(why) {
  asking ??= new Promise((settle) => {
    const field = h("input", { type: "password", id: "token", required: true, autocomplete: "off", spellcheck: "false" });
    const dialog = openDialog({
      title: "Sign in",
      text: why.code === "invalid_token" ? "That token was not taken. Try another one." : "This node asks who calls. Show it a token.",
      fields: [h("label", { class: "field", for: "token" }, h("span", {}, "Token"), field)],
      submit: "Sign in",
      mustAnswer: true,
      onSubmit: async () => {
        keep(field.value.trim());
        asking = null;
        settle(field.value.trim());
      },
    });
    dialog.classList.add("sign-in");
  });
  return asking;
}

let keptHere = null;

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return keptHere;
  }
}

function keep(token) {
  keptHere = token;
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}
