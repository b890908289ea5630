// The slick or candidate that is selected: its feature, and who wants to hear of it.

import { asked } from "./known.js";
import { change, current, onChange } from "./state.js";

const listeners = new Set();
let feature = null; // GeoJSON; `collection` is the one that it is of
let pending = new AbortController();

/** The selected feature, or null. */
export function selected() {
  return feature;
}

/** Hear of each selection: the feature, or null. */
export function onSelect(listener) {
  listeners.add(listener);
}

export function select(collection, id) {
  change({ slick: collection === "slicks" ? id : "", candidate: collection === "candidates" ? id : "" });
}

export function unselect() {
  change({ slick: "", candidate: "" });
}

/** Fetch the selected feature anew and tell of it. */
export async function reselect() {
  pending.abort();
  pending = new AbortController();
  const { slick, candidate } = current();
  const collection = candidate ? "candidates" : "slicks";
  const id = candidate || slick;
  try {
    const found = id && (await asked(`/collections/${collection}/items/${encodeURIComponent(id)}?f=geojson`, pending.signal));
    feature = found ? { ...found, collection } : null;
    tell(null);
  } catch (error) {
    if (error.name === "AbortError") return;
    feature = null;
    tell(error);
  }
}

function tell(error) {
  for (const listener of listeners) listener(feature, error);
}

onChange((names) => {
  if (names.has("slick") || names.has("candidate")) reselect();
});
