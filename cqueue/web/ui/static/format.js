/** Numbers and times as people read them. */

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const SPANS = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];

/** 1234567 → "1,234,567". */
export const count = (number) => WHOLE.format(number);

/** 1234567 → "1.2M"; small ones as they are. */
export const short = (number) => (number < 10_000 ? WHOLE.format(Math.round(number)) : SHORT.format(number));

/** A number per second. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number >= 100 ? short(number) : number >= 10 ? number.toFixed(0) : number === 0 ? "0" : number.toFixed(number < 0.1 ? 2 : 1);
}

/** Seconds → "3 min 20 s": the two largest parts. */
export function span(seconds) {
  if (seconds < 1) return seconds < 0.0005 ? "0 s" : `${Math.max(1, Math.round(seconds * 1000))} ms`;
  const parts = [];
  let rest = seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  for (const [unit, size] of SPANS) {
    const many = unit === "s" ? rest : Math.floor(rest / size);
    rest -= many * size;
    if (many) parts.push(`${unit === "s" ? Number(many.toFixed(1)) : many} ${unit}`);
    if (parts.length === 2 || (parts.length && many === 0)) break;
  }
  return parts.join(" ");
}

/** A time → how long ago, or how long until then. */
export function ago(text, now = Date.now()) {
  const seconds = (now - Date.parse(text)) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${span(Math.floor(seconds))} ago` : `in ${span(Math.ceil(-seconds))}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** A time → "14:03:07", with the day if it is another one. */
export function clock(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

const EVENTS = {
  enqueue: "Enqueued",
  become_due: "Due",
  hand_out: "Handed out",
  extend: "Lease extended",
  progress: "Progress",
  conclude: "Concluded",
  retry: "Failed, to be tried again",
  retry_now: "Failed, queued again",
  give_up: "Failed for good",
  release: "Given back",
  lose_lease: "Lease ran out",
  lose_last_lease: "Last lease ran out",
  request_cancel: "Asked to stop",
  cancel: "Cancelled",
  expire: "Expired",
  redrive: "Redriven",
  purge: "Forgotten",
};

/** hand_out → "Handed out". */
export const happened = (event) => EVENTS[event] ?? words(event);

/** IN_PROGRESS → "In progress". */
export function words(name) {
  const text = name.toLowerCase().replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}
