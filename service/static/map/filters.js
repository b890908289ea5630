// The form of filters: what is written there goes into the state, and back.

import { view } from "./chart.js";
import { change, clearFilters, current, filterCount, onChange } from "./state.js";

const form = document.getElementById("filters");
const field = (name) => form.elements.namedItem(name);
const DAY = 86400000;

export function startFilters(map, summary) {
  document.getElementById("wind").hidden = !summary?.wind;
  const first = Date.parse(summary?.first?.slice(0, 10) ?? "") || Date.now();
  const last = Date.parse(summary?.last?.slice(0, 10) ?? "") || first;
  field("day").max = Math.round((last - first) / DAY);
  const dayText = (number) => new Date(first + number * DAY).toISOString().slice(0, 10);

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    clearFilters();
  });
  form.addEventListener("input", ({ target }) => {
    if (target.name === "confidence") change({ confidence: Number(target.value) });
    if (target.name === "day") slide(Number(target.value));
  });
  form.addEventListener("change", ({ target }) => {
    const { name, value } = target;
    if (["class", "status"].includes(name)) {
      change({ [name]: [...form.querySelectorAll(`[name=${name}]:checked`)].map((one) => one.value) });
    } else if (["from", "to"].includes(name)) change({ [name]: value, window: "" });
    else if (name === "window") {
      change(value ? { window: value } : { window: "", from: "", to: "" });
      if (value) slide(Number(field("day").value));
    } else if (["least", "most", "calmest", "windiest"].includes(name)) change({ [name]: value });
    else if (name === "box") setBox(value);
  });
  document.getElementById("box-view").addEventListener("click", () => change({ box: view(map) }));
  startDrawing(map);
  onChange(show);
  show();

  function slide(number) {
    const days = Number(current().window || 1);
    const end = new Date(first + (number + days - 1) * DAY).toISOString().slice(0, 10);
    change({ window: String(days), from: dayText(number), to: end });
  }

  function show() {
    const state = current();
    for (const name of ["class", "status"]) {
      for (const one of form.querySelectorAll(`[name=${name}]`)) one.checked = state[name].includes(one.value);
    }
    for (const name of ["from", "to", "window", "least", "most", "calmest", "windiest", "confidence"]) field(name).value = state[name];
    field("box").value = state.box ? state.box.join(", ") : "";
    if (state.window && state.from) field("day").value = Math.round((Date.parse(state.from) - first) / DAY);
    document.getElementById("day-said").textContent = state.window ? `${state.from} to ${state.to}` : "";
    document.getElementById("confidence-said").textContent = Number(state.confidence) ? Number(state.confidence).toFixed(2) : "any";
    const count = filterCount();
    document.getElementById("filter-count").textContent = count ? `(${count} set)` : "";
  }
}

function setBox(text) {
  const numbers = text.split(",").map((one) => (one.trim() ? Number(one) : NaN));
  const [west, south, east, north] = numbers;
  const valid =
    numbers.length === 4 && numbers.every(Number.isFinite) && south < north && Math.abs(south) <= 90 && Math.abs(north) <= 90 &&
    Math.abs(west) <= 180 && Math.abs(east) <= 180;
  document.getElementById("box-said").textContent = valid || !text.trim() ? "" : "Four numbers in degrees: west, south, east, north.";
  if (valid || !text.trim()) change({ box: valid ? numbers : null });
}

function startDrawing(map) {
  const button = document.getElementById("box-draw");
  const end = () => {
    map.drawing = false;
    map.dragPan.enable();
    button.setAttribute("aria-pressed", "false");
  };
  button.addEventListener("click", () => {
    if (map.drawing) return end();
    map.drawing = true;
    map.dragPan.disable();
    button.setAttribute("aria-pressed", "true");
    document.getElementById("box-said").textContent = "Drag a box on the map.";
  });
  let corner = null;
  const begin = (event) => {
    if (map.drawing) corner = event.lngLat;
  };
  const finish = (event) => {
    if (!map.drawing || !corner) return;
    const { lng, lat } = event.lngLat;
    const box = [Math.min(lng, corner.lng), Math.min(lat, corner.lat), Math.max(lng, corner.lng), Math.max(lat, corner.lat)];
    corner = null;
    end();
    document.getElementById("box-said").textContent = "";
    if (box[0] < box[2] && box[1] < box[3]) change({ box: box.map((one) => Number(one.toFixed(4))) });
  };
  map.on("mousedown", begin);
  map.on("mouseup", finish);
  map.on("touchstart", begin);
  map.on("touchend", finish);
}
