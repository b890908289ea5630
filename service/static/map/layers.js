// The choice of layers, and the legend.

import { known } from "./known.js";
import { change, current, onChange } from "./state.js";

const form = document.getElementById("layers");
const legend = document.getElementById("legend");

export function startLayers() {
  form.addEventListener("change", ({ target }) => {
    change({ [target.name]: target.type === "radio" ? target.value : target.checked });
  });
  onChange(show);
  show();
}

function show() {
  const state = current();
  for (const one of form.querySelectorAll("[name=picture]")) one.checked = one.value === state.picture;
  for (const name of ["scenes", "candidates"]) form.querySelector(`[name=${name}]`).checked = state[name];
  legend.replaceChildren(
    ...known.looks.map((look) => entry(look.label, { borderColor: look.colour, background: `${look.colour}30` })),
    ...(state.candidates ? [entry("Rejected candidate", { borderStyle: "dashed" })] : []),
    ...(["probability", "swipe"].includes(state.picture) ? [entry("Probability of oil, 0.1 to 1", { background: ramp() }, "ramp")] : []),
  );
}

function entry(label, look, kind = "") {
  const item = document.createElement("li");
  const key = document.createElement("span");
  key.className = `key ${kind}`;
  Object.assign(key.style, look);
  item.append(key, label);
  return item;
}

function ramp() {
  const stops = known.ramp
    .filter(([, , alpha]) => alpha)
    .map(([share, colour, alpha]) => `${colour}${alpha.toString(16).padStart(2, "0")} ${share * 100}%`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
