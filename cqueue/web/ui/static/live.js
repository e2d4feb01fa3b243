/**
 * What keeps a view up to date: events as they come, and a look now and then for what no event tells.
 *
 * One view follows at a time, and none while the page is hidden. When more comes than anybody can
 * read, the page stops listening for a while and only looks: a browser must not be kept busy by a
 * queue that is. And it looks for a small part of the time only: what a node has to search long for,
 * it is not asked every second.
 */

import { change, node, wire } from "./api.js";
import { hasToken, may } from "./session.js";

const LOOK_MS = 5_000;
const SOON_MS = 1_000;
const PAUSE_RATIO = 20;
const PAUSE_MS_MAX = 20_000;
const AGAIN_MS = 1_000;
const AGAIN_MS_MAX = 30_000;
const EVENTS_A_SECOND_MAX = 300;
const CALM_MS = 10_000;

/**
 * Call `refresh` now, soon after events that fit `filter`, and every few seconds, until `signal` is aborted.
 * onEvent: is told each event. Failures are the caller's to show: `refresh` must not throw.
 */
export function keepFresh(refresh, { filter = null, everyMs = LOOK_MS, onEvent, signal }) {
  let timer = 0;
  let isLooking = false;
  let isStale = false;
  let soonestMs = 0;

  function schedule(leastMs) {
    clearTimeout(timer);
    timer = setTimeout(run, Math.max(leastMs, soonestMs - performance.now()));
  }

  async function run() {
    isLooking = true;
    isStale = false;
    const asked = node();
    const begunMs = performance.now();
    if (!document.hidden) await refresh();
    // What took long was to find another node, if there is another one now.
    const tookMs = node() === asked ? performance.now() - begunMs : 0;
    soonestMs = begunMs + Math.min(Math.max(SOON_MS, PAUSE_RATIO * tookMs), PAUSE_MS_MAX);
    isLooking = false;
    if (!signal.aborted) schedule(isStale ? 0 : everyMs);
  }

  function lookSoon() {
    // What is under way may have been answered before this happened.
    if (!isLooking && !isStale) schedule(0);
    isStale = true;
  }

  function lookElsewhere() {
    soonestMs = 0;
    isStale = false;
    lookSoon();
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  for (const what of ["node", "online"]) wire.addEventListener(what, lookElsewhere, { signal });
  document.addEventListener("visibilitychange", () => document.hidden || lookSoon(), { signal });
  run();
  if (filter !== null && may("GET /events")) {
    follow(filter, signal, (event) => {
      onEvent?.(event);
      lookSoon();
    });
  }
}

/** Follow events, from whichever node answers, where it was left off. */
async function follow(filter, signal, tell) {
  let after = null;
  let againMs = AGAIN_MS;
  while (!signal.aborted) {
    await untilVisible(signal);
    let how = { opened: false };
    try {
      const ticket = hasToken() ? (await change("POST", "/tickets", undefined, { keyed: false })).ticket : null;
      if (signal.aborted) return;
      how = await listen({ ...filter, after, ticket }, signal, tell);
    } catch {
      // Nobody can be asked just now; polling says so.
    }
    // Where a node refuses at once, what came after `after` may be gone there.
    after = how.flooded || !how.opened ? null : (how.after ?? after);
    againMs = how.opened ? AGAIN_MS : Math.min(2 * againMs, AGAIN_MS_MAX);
    await pause(how.flooded ? CALM_MS : againMs, signal);
  }
}

/** Listen on one connection until it ends: {opened, flooded, after}. */
function listen(filter, signal, tell) {
  const url = new URL("events", node());
  for (const [name, value] of Object.entries(filter)) {
    for (const one of [value].flat()) if (one !== null && one !== "" && one !== undefined) url.searchParams.append(name, one);
  }
  const source = new EventSource(url);
  const how = { opened: false, flooded: false, after: null };
  return new Promise((settle) => {
    let heard = 0;
    let second = 0;
    function end() {
      source.close();
      document.removeEventListener("visibilitychange", endIfHidden);
      settle(how);
    }
    function endIfHidden() {
      if (document.hidden) end();
    }
    document.addEventListener("visibilitychange", endIfHidden);
    signal.addEventListener("abort", end, { once: true });
    source.onopen = () => (how.opened = true);
    source.onerror = end;
    source.addEventListener("end", end);
    source.onmessage = (message) => {
      how.after = message.lastEventId;
      const now = Math.floor(performance.now() / 1000);
      heard = now === second ? heard + 1 : 1;
      second = now;
      if (heard > EVENTS_A_SECOND_MAX) {
        how.flooded = true;
        end();
      } else {
        tell(JSON.parse(message.data));
      }
    };
  });
}

const pause = (ms, signal) =>
  new Promise((settle) => {
    const timer = setTimeout(settle, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), settle()), { once: true });
  });

const untilVisible = (signal) =>
  new Promise((settle) => {
    if (!document.hidden || signal.aborted) {
      settle();
      return;
    }
    const look = () => document.hidden || settle();
    document.addEventListener("visibilitychange", look, { signal });
    signal.addEventListener("abort", () => settle(), { once: true });
  });
