/** Which view is shown: the part of the address behind `#`, so that nothing is loaded anew when it changes. */

/** "#/jobs?status=DEAD" → {parts: ["jobs"], query}. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

/** The address of a view. */
export function to(parts, query = {}) {
  const given = Object.entries(query).flatMap(([name, value]) => [value].flat().filter(Boolean).map((one) => [name, one]));
  const search = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search && `?${search}`}`;
}

/** Go there. */
export const go = (parts, query) => (location.hash = to(parts, query));

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
