/**
 * Payloads and results as they are: a number that JavaScript cannot hold stays the digits it was sent as.
 *
 * Browsers that do not tell the source of a number (JSON.parse source text access) show it rounded.
 */

const exact = (_key, value, context) =>
  typeof value === "number" && context?.source && String(value) !== context.source && JSON.rawJSON
    ? JSON.rawJSON(context.source)
    : value;

/** The member of an object in JSON, with line breaks; null where there is none. */
export function member(text, name) {
  const object = JSON.parse(text, exact);
  return name in object ? JSON.stringify(object[name], null, 2) : null;
}
