/**
 * Elements, and how those on the page become new ones.
 *
 * Whatever comes from a job or a queue gets in as a text node or as the value of an attribute that
 * loads and runs nothing. There is no other way in: nothing here, or elsewhere, parses HTML.
 */

const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "onkeydown"];

/** An element. Attributes: false, null and undefined leave one out; functions are handlers; `css` has properties. */
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element[key] = value;
    else if (key === "css") Object.entries(value).forEach(([property, text]) => element.style.setProperty(property, text));
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== false && child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  sun: "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z",
  moon: "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5Z",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 4v16M15 5.5v13M18 8v8",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  next: "M9 5l7 7-7 7",
  back: "M15 5l-7 7 7 7",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
};

/** A drawing beside words; it says nothing by itself. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Let `parent` have `children`, and keep those elements it has that are alike: with their focus and their place. */
export function fill(parent, ...children) {
  const wanted = children.flat(2).filter((child) => child !== false && child !== null && child !== undefined);
  wanted.forEach((child, position) => {
    const next = typeof child === "string" ? document.createTextNode(child) : child;
    const at = parent.childNodes[position];
    const known = find(parent, at, next);
    if (known === next) return;
    if (known === null) {
      parent.insertBefore(next, at ?? null);
      return;
    }
    if (known !== at) parent.insertBefore(known, at);
    become(known, next);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

/** What `parent` has, from `at` on, that can become `next`. */
function find(parent, at, next) {
  if (next.parentNode === parent) {
    if (next !== at) parent.insertBefore(next, at);
    return next;
  }
  const key = next.dataset?.key;
  for (let known = at; known; known = known.nextSibling) {
    if (known.nodeName === next.nodeName && known.dataset?.key === key && !isOwn(known) && !isOwn(next)) return known;
    if (key === undefined) return null;
  }
  return null;
}

/** What somebody holds on to is put there itself. */
const isOwn = (element) => element.dataset?.own !== undefined;

function become(known, next) {
  if (known.nodeType === Node.TEXT_NODE) {
    if (known.data !== next.data) known.data = next.data;
    return;
  }
  for (const { name } of [...known.attributes]) if (!next.hasAttribute(name)) known.removeAttribute(name);
  for (const { name, value } of next.attributes) if (known.getAttribute(name) !== value) known.setAttribute(name, value);
  for (const handler of HANDLERS) known[handler] = next[handler];
  // What somebody types just now is theirs.
  if ("value" in known && known.nodeName !== "BUTTON" && known.nodeName !== "LI" && known !== document.activeElement) {
    known.value = next.value;
    known.checked = next.checked;
  }
  fill(known, [...next.childNodes]);
}
