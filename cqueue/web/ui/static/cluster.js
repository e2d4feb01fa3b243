/** The nodes: who leads, who follows, and how far each is. Each node is asked what it says of itself. */

import { ask, change, look, nodes } from "./api.js";
import { fill, h } from "./dom.js";
import { count } from "./format.js";
import { keepFresh } from "./live.js";
import { may } from "./session.js";
import { badge, button, complain, facts, field, head, openDialog, table, toast } from "./widgets.js";

const MODES = {
  memory: "In memory: a restart loses every job.",
  "replicated-memory": "In the memory of all nodes: survives the loss of a minority.",
  durable: "On disk: survives the loss of a minority for good, and a restart of all.",
};
const COLUMNS = [
  { title: "Node" },
  { title: "Role" },
  { title: "Link", minor: true },
  { title: "Applied", number: true, minor: true },
  { title: "Lag", number: true },
  { title: "Consumers", number: true, minor: true },
  { title: "Actions", unseen: true, number: true, minor: true },
];

export const route = "GET /cluster";

export function show(main, { signal }) {
  async function refresh() {
    try {
      const [seen, told] = await Promise.all([look("/cluster"), Promise.allSettled(nodes.map((base) => ask(base, "/cluster")))]);
      const views = new Map();
      told.forEach((one, number) => one.status === "fulfilled" && views.set(one.value.json.node, { ...one.value.json, url: nodes[number] }));
      views.set(seen.node, { url: "", ...views.get(seen.node), ...seen });
      if (!signal.aborted) fill(main, view(seen, views, told.length - told.filter((one) => one.status === "fulfilled").length, refresh));
    } catch (error) {
      if (!signal.aborted) complain(error);
    }
  }

  fill(main, head("Cluster"));
  keepFresh(refresh, { everyMs: 2_000, signal });
}

function view(seen, views, silent, refresh) {
  const committed = Math.max(...[...views.values()].map((one) => one.commit_index));
  const known = seen.members.map(({ id }) => id);
  const ids = known.includes(seen.node) ? known : [seen.node, ...known];
  const connected = seen.members.filter(({ state }) => state !== "disconnected").length;
  const canTransfer = may("POST /cluster/transfer") && seen.members.length > 1 && seen.leader !== null;
  return [
    head("Cluster", {
      beside: [seen.leader ? badge("CONNECTED", `${connected} of ${seen.members.length} connected`) : badge("DISCONNECTED", "No leader")],
      actions: [canTransfer && button("Transfer leadership…", () => transfer("", seen, refresh))],
    }),
    !seen.leader && h("p", { class: "callout bad" }, "No leader is known: an election is under way, or a majority of the nodes is out of reach. Nothing can be changed until there is one."),
    seen.change && h("p", { class: "callout" }, `Under way: ${seen.change.verb} ${seen.change.node ?? ""} (${seen.change.phase}).`),
    h(
      "section",
      { class: "card" },
      table("Nodes", canTransfer ? COLUMNS : COLUMNS.slice(0, -1), ids.map((id) => row(id, seen, views.get(id), committed, canTransfer, refresh))),
      views.size < ids.length && h("p", { class: "hint foot" }, silent ? "A node that is silent here is down, or cannot be reached from this browser." : "Other nodes are seen through this one: name their addresses in --node-urls to see how far each is."),
    ),
    h(
      "section",
      { class: "card", "aria-label": "The log" },
      h("div", { class: "card-head" }, h("h2", {}, "The log")),
      facts([
        ["Seen through", seen.node],
        ["Leader", seen.leader ?? "none"],
        ["Term", count(seen.term)],
        ["Committed", count(committed)],
        ["What is kept where", MODES[seen.mode] ?? seen.mode],
      ]),
    ),
  ];
}

function row(id, seen, told, committed, canTransfer, refresh) {
  const role = id === seen.leader ? "LEADER" : told && told.role === "candidate" ? "CANDIDATE" : "FOLLOWER";
  const state = seen.members.find((one) => one.id === id)?.state ?? "no member";
  const isUp = told || state === "connected" || state === "self";
  return {
    key: id,
    cells: [
      [h("span", { class: "name" }, id), told?.url && h("span", { class: "hint block" }, new URL(told.url).host)],
      badge(isUp ? role : "DISCONNECTED", isUp ? undefined : "Silent"),
      state === "self" ? "this view" : state,
      told ? count(told.applied_index) : "–",
      told ? count(Math.max(0, committed - told.applied_index)) : "–",
      told ? count(told.consumers_waiting) : "–",
      canTransfer && isUp && id !== seen.leader && button("Make leader…", () => transfer(id, seen, refresh), { kind: "small", "aria-label": `Make ${id} the leader` }),
    ].slice(0, canTransfer ? COLUMNS.length : -1),
  };
}

function transfer(id, seen, refresh) {
  const others = seen.members.filter((one) => one.id !== seen.leader);
  const to = h(
    "select",
    {},
    h("option", { value: "" }, "Whichever is furthest"),
    others.map((one) => h("option", { value: one.id, selected: one.id === id }, one.id)),
  );
  openDialog({
    title: "Transfer leadership?",
    text: "Writes wait a few milliseconds meanwhile; nothing is lost.",
    fields: [field("To", to)],
    submit: "Transfer",
    onSubmit: async () => {
      const said = to.value ? { to: to.value } : {};
      const { leader } = await change("POST", "/cluster/transfer", said, { keyed: false, once: true });
      toast(`${leader} leads`);
      refresh();
    },
  });
}
