// Swipe: a second map over the first, showing the probability of oil right of a divider.

import { Map } from "../vendor/maplibre-gl.mjs";
import { pictureTiles, style } from "./look.js";
import { onSelect, selected } from "./selection.js";
import { change, current, onChange } from "./state.js";

const place = document.getElementById("over");
const divider = document.getElementById("divider");
let over = null;

export function startSwipe(map) {
  divider.addEventListener("input", () => change({ divider: Number(divider.value) }));
  const show = () => {
    const state = current();
    const on = state.picture === "swipe";
    place.hidden = divider.hidden = !on;
    if (!on) {
      over?.remove();
      over = null;
      return;
    }
    over ??= second(map);
    divider.value = state.divider;
    place.style.clipPath = `inset(0 0 0 ${state.divider}%)`;
    over.getSource("probability")?.setTiles(pictureTiles("probability", selected()?.properties.scene_id));
  };
  onChange((names) => {
    if (["picture", "divider", "from", "to"].some((name) => names.has(name))) show();
  });
  onSelect(() => over && show());
  show();
}

function second(map) {
  const made = new Map({
    container: place, style: style(["probability"]), center: map.getCenter(), zoom: map.getZoom(),
    interactive: false, attributionControl: false,
  });
  made.getCanvas().setAttribute("aria-hidden", "true");
  made.getCanvas().tabIndex = -1;
  const follow = () => over && made.jumpTo({ center: map.getCenter(), zoom: map.getZoom() });
  map.on("move", follow);
  made.on("remove", () => map.off("move", follow));
  made.on("load", () => {
    for (const id of ["candidates", "candidate-dots"]) made.setLayoutProperty(id, "visibility", "none");
    place.dataset.loaded = "yes";
  });
  return made;
}
