// The map itself: what it shows by the state, and what is clicked on it.

import { LngLatBounds, Map, NavigationControl, ScaleControl, setWorkerUrl } from "../vendor/maplibre-gl.mjs";
import { chosen, layerTiles, LAYERS_OF, pictureTiles, style } from "./look.js";
import { onSelect, select, selected } from "./selection.js";
import { change, current, FILTERS, onChange } from "./state.js";

setWorkerUrl(new URL("../vendor/maplibre-gl-worker.mjs", import.meta.url).href);
const REACH = 5; // pixels around a click
const WORLD = [[-170, -60], [170, 75]];

/** Draw the map where the state says, or else where the scenes are. */
export function startChart(summary) {
  const state = current();
  const where = state.map
    ? { zoom: state.map[0], center: [state.map[2], state.map[1]] }
    : { bounds: summary?.bounds ?? WORLD, fitBoundsOptions: { padding: 40, maxZoom: 11 } };
  const map = new Map({
    container: "map", style: style(["radar", "probability"]), ...where,
    attributionControl: false, maxPitch: 0, dragRotate: false, pitchWithRotate: false, maxZoom: 18,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new ScaleControl(), "bottom-left");
  map.getCanvas().setAttribute("aria-label", "Map. The list beside it has the same slicks.");
  map.on("load", () => {
    keepView(map);
    show(map);
    map.getContainer().dataset.loaded = "yes";
  });
  map.on("moveend", () => keepView(map));
  map.on("click", (event) => clicked(map, event.point));
  map.on("mousemove", (event) => {
    map.getCanvas().style.cursor = map.drawing ? "crosshair" : touched(map, event.point) ? "pointer" : "";
  });
  onSelect((feature) => {
    if (map.loaded() || map.isStyleLoaded()) show(map);
    if (feature && !visible(map, feature)) zoomTo(map, feature);
  });
  onChange((names) => {
    if (!map.isStyleLoaded()) return;
    if (FILTERS.some((name) => names.has(name))) refresh(map);
    show(map);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    map.setStyle(style(["radar", "probability"]));
    map.once("styledata", () => show(map));
  });
  return map;
}

function keepView(map) {
  const { lng, lat } = map.getCenter();
  change({ map: [Number(map.getZoom().toFixed(2)), Number(lat.toFixed(5)), Number(lng.toFixed(5))] });
}

/** Ask for all tiles anew, by the filters of now. */
export function refresh(map) {
  for (const one of ["slicks", "candidates", "scenes"]) map.getSource(one)?.setTiles(layerTiles(one));
  showPictures(map);
}

/** The part of the map that is seen, as west, south, east, north. */
export function view(map) {
  const box = map.getBounds();
  const wide = box.getEast() - box.getWest() >= 360;
  const turned = (lon) => ((((lon + 180) % 360) + 360) % 360) - 180;
  return [
    wide ? -180 : turned(box.getWest()), Math.max(-90, box.getSouth()),
    wide ? 180 : turned(box.getEast()), Math.min(90, box.getNorth()),
  ].map((one) => Number(one.toFixed(5)));
}

export function zoomTo(map, feature) {
  const [west, south, east, north] = feature.bbox ?? around(feature.geometry);
  map.fitBounds([[west, south], [east, north]], { padding: 80, maxZoom: 12, duration: calm() ? 0 : 500 });
}

export function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function around(geometry) {
  const box = new LngLatBounds();
  const walk = (part) => (typeof part[0] === "number" ? box.extend(part) : part.forEach(walk));
  walk(geometry.coordinates);
  return box.toArray().flat();
}

function visible(map, feature) {
  if (!feature.geometry) return true;
  const [west, south, east, north] = feature.bbox ?? around(feature.geometry);
  const box = map.getBounds();
  return box.contains([west, south]) || box.contains([east, north]) || box.contains([(west + east) / 2, (south + north) / 2]);
}

function show(map) {
  const state = current();
  const visibility = (id, on) => map.getLayer(id) && map.setLayoutProperty(id, "visibility", on ? "visible" : "none");
  visibility("radar", ["radar", "swipe"].includes(state.picture));
  visibility("probability", state.picture === "probability");
  visibility("scenes", state.scenes);
  for (const id of LAYERS_OF.candidates) visibility(id, state.candidates);
  const feature = selected();
  for (const collection of ["slicks", "candidates"]) {
    for (const [id, filter] of chosen(collection, feature?.collection === collection ? feature.id : "")) {
      if (map.getLayer(id)) map.setFilter(id, filter);
    }
  }
  showPictures(map);
}

/** The scene of the selected slick lies on top of others. */
function showPictures(map) {
  const scene = selected()?.properties.scene_id;
  for (const one of ["radar", "probability"]) {
    const source = map.getSource(one);
    const tiles = pictureTiles(one, scene);
    if (source && source.tiles?.[0] !== tiles[0]) source.setTiles(tiles);
  }
}

function touched(map, point) {
  const layers = Object.values(LAYERS_OF).flat().filter((id) => map.getLayer(id));
  const box = [[point.x - REACH, point.y - REACH], [point.x + REACH, point.y + REACH]];
  return map.queryRenderedFeatures(box, { layers })[0];
}

function clicked(map, point) {
  if (map.drawing) return;
  const feature = touched(map, point);
  if (!feature) return;
  if (feature.properties.count > 1) {
    map.easeTo({ center: feature.geometry.coordinates, zoom: map.getZoom() + 2, duration: calm() ? 0 : 400 });
    return;
  }
  select(feature.sourceLayer, feature.properties.id);
}
