/**
 * Calls to the nodes. One node answers; when it does not, the next one is asked, and goes on answering.
 *
 * A call that changes something is sent again only where it is safe: under an Idempotency-Key, or
 * where nothing was done. Reads ask for the node's own state (`consistency=stale`), at least as new
 * as what this page has changed: they cost little, and work while there is no leader.
 */

const ANSWER_MS = 8_000;
const CHANGE_MS = 30_000;
const ELSEWHERE = new Set(["not_ready", "no_leader", "shutting_down", "index_not_reached"]);

const home = new URL(".", location.href).href;
const told = document.querySelector('meta[name="cqueue-nodes"]').content.split(" ");

/** Where the nodes are: the one that this page came from, then the others. */
export const nodes = [home, ...told.filter((url) => url && url !== location.origin).map((url) => `${url}/`)];

/** "node": another node answers than before. "offline", "online": no node answers, or one does again. */
export const wire = new EventTarget();

let current = 0;
let answered = 0;
let isOffline = false;
let seenIndex = 0;
let token = null;
let askForToken = () => Promise.reject(new Error("nobody asks for a token"));

/** The node that answers, or is asked next. */
export const node = () => nodes[current];

/** Show this token from now on; `ask` is called where it is not taken, and resolves with another one. */
export function useToken(shown, ask = askForToken) {
  token = shown;
  askForToken = ask;
}

/** An answer that is no success. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
  }
}

/** No node answered. */
export class Unreachable extends Error {
  constructor() {
    super("No node answers. This page tries again by itself.");
  }
}

/** Look at something; its JSON. */
export const look = async (path, query = {}) => (await looked(path, query)).json;

/** The same with its text: {json, text}. */
export function looked(path, query = {}) {
  const consistency = path === "/cluster" || path === "/whoami" ? {} : { consistency: "stale" };
  const least = seenIndex && consistency.consistency ? { min_index: seenIndex } : {};
  return call("GET", path, { query: { ...query, ...consistency, ...least } });
}

/** Change something; its JSON. body: JSON text, or what becomes it. once: it must not be sent again. */
export async function change(method, path, body, { once = false, keyed = true } = {}) {
  const key = keyed ? `"${crypto.getRandomValues(new Uint32Array(4)).join("-")}"` : null;
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const answer = await call(method, path, { body: text, key, once });
  seenIndex = Math.max(seenIndex, answer.index);
  return answer.json;
}

/** Ask one node, and no other: {json}. For what each says of itself. */
export const ask = (base, path) => send(base, "GET", path, {});

async function call(method, path, request) {
  let failure = new Unreachable();
  for (let tried = 0; tried < nodes.length; tried += 1) {
    const asked = current;
    try {
      const answer = await signedIn(() => send(nodes[asked], method, path, request));
      tellAnswered(asked);
      return answer;
    } catch (error) {
      if (error instanceof Problem && !ELSEWHERE.has(error.code)) {
        tellAnswered(asked);
        throw error;
      }
      failure = error;
      if (!(error instanceof Problem)) {
        // What the page has seen may be lost with that node.
        seenIndex = 0;
        if (request.once) throw new Error("The node did not answer. It may have been done: look before you try again.");
        failure = new Unreachable();
      }
      // Somebody else may have gone on meanwhile.
      if (current === asked) current = (asked + 1) % nodes.length;
    }
  }
  if (failure instanceof Unreachable) tellOffline(true);
  throw failure;
}

async function signedIn(again) {
  for (;;) {
    try {
      return await again();
    } catch (error) {
      if (error.status !== 401) throw error;
      token = await askForToken(error);
    }
  }
}

async function send(base, method, path, { query = {}, body, key }) {
  const url = new URL(path.slice(1), base);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) url.searchParams.append(name, one);
  }
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers["Idempotency-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const reply = await fetch(url, {
    method,
    headers,
    body,
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(method === "GET" ? ANSWER_MS : CHANGE_MS),
  });
  const text = await reply.text();
  if (!reply.ok) throw new Problem(reply.status, problemOf(text));
  const index = Number(reply.headers.get("X-Cqueue-Index") ?? 0);
  return { text, index, json: text ? JSON.parse(text) : null };
}

function problemOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function tellAnswered(by) {
  tellOffline(false);
  if (by === answered) return;
  answered = by;
  wire.dispatchEvent(new Event("node"));
}

function tellOffline(is) {
  if (is === isOffline) return;
  isOffline = is;
  wire.dispatchEvent(new Event(is ? "offline" : "online"));
}
