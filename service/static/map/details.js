// The panel of the selected slick or candidate: all that is known of it.

import { zoomTo } from "./chart.js";
import { asked, known } from "./known.js";
import { km2 } from "./lists.js";
import { onSelect, selected, unselect } from "./selection.js";

const element = (id) => document.getElementById(id);

export function startDetails(map) {
  element("back").addEventListener("click", () => {
    const id = selected()?.id;
    unselect();
    element("overview").querySelector(`[data-id="${CSS.escape(id ?? "")}"]`)?.focus();
  });
  element("zoom-to").addEventListener("click", () => zoomTo(map, selected()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected() && !event.defaultPrevented) element("back").click();
  });
  onSelect(show);
}

function show(feature, error) {
  element("details").hidden = !feature && !error;
  element("overview").hidden = Boolean(feature || error);
  element("details").dataset.id = feature?.id ?? "";
  for (const id of ["facts", "picture-state"]) element(id).textContent = "";
  element("attributes").tBodies[0].replaceChildren();
  if (error) {
    element("details-title").textContent = error.message;
    return;
  }
  if (!feature) return;
  const { properties, collection, id } = feature;
  element("details-title").textContent = collection === "slicks" ? `Slick ${id}` : `Rejected candidate ${id}`;
  element("facts").textContent = [properties.class, km2(properties.area_m2), properties.status].filter(Boolean).join(", ");
  const page = `${known.base}/collections/${collection}/items/${encodeURIComponent(id)}`;
  element("item-page").href = `${page}?f=html`;
  element("item-json").href = `${page}?f=geojson`;
  element("attributes").tBodies[0].append(...known.collections[collection].map((one) => attribute(one, properties[one.name])));
  element("details-title").focus({ preventScroll: false });
  tellPictures(properties.scene_id);
}

function attribute({ name, title, description }, value) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = title ?? name;
  head.title = description ?? "";
  const cell = document.createElement("td");
  const missing = value === null || value === undefined || value === "";
  cell.textContent = missing ? "not known" : written(value);
  cell.className = missing ? "missing" : "";
  row.append(head, cell);
  return row;
}

function written(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value).replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d+Z$/, "$1 $2");
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 6 });
}

async function tellPictures(scene) {
  try {
    const { scenes } = await asked(`/map/scenes?scene=${encodeURIComponent(scene)}`);
    if (selected()?.properties.scene_id !== scene) return;
    const gone = ["radar", "probability"].filter((one) => !scenes[0]?.pictures.includes(one));
    element("picture-state").textContent = gone.length ? `The results of this scene have no ${gone.join(" and no ")} image any more.` : "";
  } catch (error) {
    element("picture-state").textContent = error.message;
  }
}
