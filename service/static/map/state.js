// The state of the page, kept in its address: view, filters, layers, selection.

const NOTHING = {
  map: null, // [zoom, latitude, longitude]
  from: "", to: "", window: "",
  class: ["oil", "look-alike"],
  status: ["unreviewed", "confirmed", "rejected"],
  confidence: 0,
  least: "", most: "", // km2
  calmest: "", windiest: "", // m/s
  box: null, // [west, south, east, north]
  picture: "radar", // probability, swipe, none
  divider: 50, // percent
  scenes: true,
  candidates: false,
  slick: "", candidate: "", // ids
};
export const FILTERS = ["from", "to", "window", "class", "status", "confidence", "least", "most", "calmest", "windiest", "box"];

const listeners = new Set();
let state = parsed(location.hash);

export function current() {
  return state;
}

/** Change parts of the state; those who listen hear of the names that changed. */
export function change(parts) {
  const names = Object.keys(parts).filter((name) => String(parts[name]) !== String(state[name]));
  if (!names.length) return;
  state = { ...state, ...parts };
  history.replaceState(null, "", `#${text(state)}`);
  for (const listener of listeners) listener(new Set(names));
}

export function onChange(listener) {
  listeners.add(listener);
}

export function clearFilters() {
  change(Object.fromEntries(FILTERS.map((name) => [name, NOTHING[name]])));
}

/** How many filters are not as they were at first. */
export function filterCount() {
  const groups = [["from", "to", "window"], ["class"], ["status"], ["confidence"], ["least", "most"], ["calmest", "windiest"], ["box"]];
  return groups.filter((names) => names.some((name) => String(state[name]) !== String(NOTHING[name]))).length;
}

window.addEventListener("hashchange", () => change(parsed(location.hash)));

function parsed(hash) {
  const given = new URLSearchParams(hash.slice(1));
  return Object.fromEntries(Object.entries(NOTHING).map(([name, usual]) => [name, value(name, given.get(name), usual)]));
}

function value(name, written, usual) {
  if (written === null) return usual;
  if (name === "map" || name === "box") {
    const numbers = written.split(name === "map" ? "/" : ",").map(Number);
    return numbers.length === (name === "map" ? 3 : 4) && numbers.every(Number.isFinite) ? numbers : usual;
  }
  if (Array.isArray(usual)) return usual.filter((one) => written.split(",").includes(one));
  if (typeof usual === "boolean") return written === "1";
  if (typeof usual === "number") return Number.isFinite(Number(written)) ? Number(written) : usual;
  if (name === "picture") return ["radar", "probability", "swipe", "none"].includes(written) ? written : usual;
  if (["from", "to"].includes(name)) return /^\d{4}-\d\d-\d\d$/.test(written) ? written : usual;
  if (["least", "most", "calmest", "windiest", "window"].includes(name)) return Number(written) >= 0 ? written : usual;
  return written;
}

function text(from) {
  const written = Object.entries(from)
    .filter(([name, one]) => String(one) !== String(NOTHING[name]))
    .map(([name, one]) => `${name}=${encoded(name, one)}`);
  return written.join("&");
}

function encoded(name, one) {
  if (name === "map") return one.join("/");
  if (Array.isArray(one)) return one.join(",");
  return typeof one === "boolean" ? Number(one) : encodeURIComponent(one);
}
