// The lists beside the map: slicks and scenes of the view, which are the map's twin for keyboards and screen readers.

import { view } from "./chart.js";
import { asked, counted, known } from "./known.js";
import { notice } from "./notice.js";
import { query } from "./query.js";
import { select } from "./selection.js";
import { onChange } from "./state.js";

const MOST = 50;
const REST_MS = 150;
const element = (id) => document.getElementById(id);
let pending = new AbortController();
let waiting = 0;
let again = () => {};

export function startLists(map) {
  again = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => fill(map), REST_MS);
  };
  onChange((names) => {
    if (["slick", "candidate", "divider", "picture"].some((name) => names.has(name)) && names.size === 1) return;
    again();
  });
  again();
}

/** Ask for the lists anew. */
export function relist() {
  again();
}

async function fill(map) {
  pending.abort();
  pending = new AbortController();
  const bbox = view(map).join(",");
  const wanted = query("slicks", { bbox, limit: MOST, sortby: "-confidence_mean", f: "geojson" });
  const during = new URLSearchParams([...new URLSearchParams(query("scenes", { bbox }))].filter(([name]) => name !== "filter"));
  try {
    const [slicks, scenes] = await Promise.all([
      asked(`/collections/slicks/items?${wanted}`, pending.signal),
      asked(`/map/scenes?${during}`, pending.signal),
    ]);
    showSlicks(slicks);
    showScenes(scenes);
    if (slicks.numberReturned) notice("");
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message);
  }
  for (const link of document.querySelectorAll("#downloads a")) {
    link.href = `${known.base}/collections/slicks/items?${query("slicks", { limit: 10000, f: link.dataset.format })}`;
    link.download = `slicks.${link.dataset.format}`;
  }
}

function showSlicks({ features, numberMatched }) {
  const all = numberMatched ?? "more than 10,000";
  element("results-count").textContent = !features.length
    ? "No slick in this view by these filters."
    : numberMatched > features.length || numberMatched === undefined
      ? `${all.toLocaleString("en")} slicks; the ${features.length} of highest confidence:`
      : counted(features.length, "slick", "slicks");
  element("list").replaceChildren(...features.map(row));
}

function row({ id, properties }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const key = document.createElement("span");
  const look = known.looks.find((one) => one.class === properties.class && (!one.level || one.level === properties.confidence_level));
  key.className = "key";
  key.style.borderColor = look?.colour ?? "";
  key.style.background = look ? `${look.colour}30` : "";
  button.type = "button";
  button.dataset.id = id;
  const words = document.createElement("span");
  words.textContent = `${properties.class}, ${km2(properties.area_m2)}, confidence ${properties.confidence_mean.toFixed(2)}`;
  const when = document.createElement("small");
  when.textContent = `${properties.acquired_start.slice(0, 16).replace("T", " ")} UTC, ${properties.status}`;
  words.append(when);
  button.append(key, words);
  button.addEventListener("click", () => select("slicks", id));
  item.append(button);
  return item;
}

export function km2(m2) {
  const area = m2 / 1e6;
  return `${area < 10 ? area.toFixed(2) : Math.round(area).toLocaleString("en")} km²`;
}

function showScenes({ matched, scenes }) {
  element("scenes-count").textContent = scenes.length ? counted(matched ?? scenes.length, "scene", "scenes") : "No scene in this view.";
  element("scene-list").replaceChildren(
    ...scenes.map((scene) => {
      const item = document.createElement("li");
      const gone = ["radar", "probability"].filter((one) => !scene.pictures.includes(one));
      const found = scene.nothing_to_see ? `nothing to see: ${scene.nothing_to_see}` : counted(scene.slick_count, "slick", "slicks");
      const link = document.createElement("a");
      link.href = `${known.base}/collections/scenes/items/${encodeURIComponent(scene.scene_id)}?f=html`;
      link.textContent = scene.scene_id;
      item.append(link, document.createElement("br"), `${found}${gone.length ? `; no image of ${gone.join(" and ")}` : ""}`);
      return item;
    }),
  );
}
