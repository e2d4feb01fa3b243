/** How the queue has been since this page was opened: one look every two seconds, half an hour of them. */

import { look } from "./api.js";

const EVERY_MS = 2_000;
const KEPT = 900;
const RATES = ["enqueued", "concluded", "failed"];

/** Columns of equal length: time in seconds, rates per second, and jobs that wait or run. */
export const samples = { time: [], enqueued: [], concluded: [], failed: [], waiting: [], running: [] };

/** "sample": there is one more. `latest` is the newest answer. */
export const sampler = new EventTarget();

let latest = null;
let before = null;

/** The newest counts, or null. */
export const counts = () => latest;

/** The rates of the last sample; null while there is none. */
export const rates = () => (samples.time.length ? Object.fromEntries(RATES.map((name) => [name, samples[name].at(-1)])) : null);

/** Begin. */
export async function start() {
  for (;;) {
    await take().catch(() => {});
    await new Promise((settle) => setTimeout(settle, EVERY_MS));
  }
}

async function take() {
  latest = await look("/jobs/stats", { by_queue: false });
  const now = { ms: performance.now(), totals: latest.totals };
  if (before) {
    const seconds = (now.ms - before.ms) / 1000;
    samples.time.push(Date.now() / 1000);
    // A queue that was forgotten takes its totals along, and a node may be behind the one before it.
    for (const name of RATES) samples[name].push(Math.max(0, (now.totals[name] - before.totals[name]) / seconds));
    samples.waiting.push(latest.jobs.QUEUED + latest.jobs.SCHEDULED);
    samples.running.push(latest.jobs.IN_PROGRESS);
    for (const column of Object.values(samples)) if (column.length > KEPT) column.shift();
  }
  before = now;
  sampler.dispatchEvent(new Event("sample"));
}
