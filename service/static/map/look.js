// The style of the map: base, images of the scenes, footprints, candidates and slicks.

import { known } from "./known.js";
import { query } from "./query.js";
import { current } from "./state.js";

const SHADES = {
  light: { sea: "#dfe9f0", land: "#f4f1e8", coast: "#8d99a3", scene: "#44525e", chosen: "#101820", candidate: "#6b7480" },
  dark: { sea: "#0e1a24", land: "#26303a", coast: "#5d6b78", scene: "#9fb0bf", chosen: "#ffffff", candidate: "#aab4bf" },
};
const SIZE = { source: 256, deepest: 15 };
const NONE = ["literal", false];

export function shades() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? SHADES.dark : SHADES.light;
}

/** Addresses of the tiles of a collection under the filters. */
export function layerTiles(collection) {
  const asked = query(collection);
  return [`${location.origin}${path()}/map/${collection}/{z}/{x}/{y}.mvt${asked && `?${asked}`}`];
}

/** Addresses of the tiles of a picture; the scene of the selected slick lies on top. */
export function pictureTiles(picture, scene) {
  const { from, to } = current();
  const asked = new URLSearchParams();
  if (from || to) asked.set("datetime", `${from || ".."}/${to || ".."}`);
  if (scene) asked.set("scene", scene);
  const text = asked.toString();
  return [`${location.origin}${path()}/map/${picture}/{z}/{x}/{y}.png${text && `?${text}`}`];
}

function path() {
  return new URL(known.base, location.href).pathname.replace(/\/$/, "");
}

function vector(tiles) {
  return { type: "vector", tiles, maxzoom: 14 };
}

function raster(picture) {
  return { type: "raster", tiles: pictureTiles(picture), tileSize: SIZE.source, minzoom: known.picturesFrom, maxzoom: SIZE.deepest };
}

const colour = [
  "case",
  ...known.looks.flatMap((look) => [
    look.level
      ? ["all", ["==", ["get", "class"], look.class], ["==", ["get", "confidence_level"], look.level]]
      : ["==", ["get", "class"], look.class],
    look.colour,
  ]),
  known.looks[0].colour,
];
const faded = ["case", ["==", ["get", "status"], "rejected"], 0.35, 1];
const dot = ["interpolate", ["linear"], ["sqrt", ["coalesce", ["get", "count"], 1]], 1, 4, 10, 9, 40, 14];
const isDot = ["==", ["geometry-type"], "Point"];
const isShape = ["!=", ["geometry-type"], "Point"];

/** A whole style. `pictures` are those of which this map shows the tiles. */
export function style(pictures) {
  const shade = shades();
  const drawn = (id, source, type, filter, paint, further = {}) => ({
    id, source, type, paint, "source-layer": source, ...(filter && { filter }), ...further,
  });
  return {
    version: 8,
    sources: {
      coarse: { type: "geojson", data: `${path()}/static/vendor/land.json` },
      land: { ...vector([`${location.origin}${path()}/map/land/{z}/{x}/{y}.mvt`]), minzoom: known.landFrom, maxzoom: 12 },
      ...Object.fromEntries(pictures.map((one) => [one, raster(one)])),
      scenes: vector(layerTiles("scenes")),
      candidates: vector(layerTiles("candidates")),
      slicks: vector(layerTiles("slicks")),
    },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": shade.sea } },
      { id: "coarse", source: "coarse", type: "fill", maxzoom: known.landFrom, paint: { "fill-color": shade.land } },
      { id: "coarse-coast", source: "coarse", type: "line", maxzoom: known.landFrom, paint: { "line-color": shade.coast, "line-width": 0.6 } },
      drawn("land", "land", "fill", null, { "fill-color": shade.land }),
      ...pictures.map((one) => ({
        id: one, source: one, type: "raster", paint: { "raster-fade-duration": 0, "raster-resampling": "linear" },
      })),
      drawn("coast", "land", "line", null, { "line-color": shade.coast, "line-width": 0.8 }),
      drawn("scenes", "scenes", "line", isShape, { "line-color": shade.scene, "line-width": 1, "line-dasharray": [4, 3] }),
      drawn("candidates", "candidates", "line", isShape, { "line-color": shade.candidate, "line-width": 1.5, "line-dasharray": [2, 1.5] }),
      drawn("candidate-dots", "candidates", "circle", isDot, {
        "circle-radius": dot, "circle-color": "rgba(0, 0, 0, 0)", "circle-stroke-color": shade.candidate, "circle-stroke-width": 1.5,
      }),
      ...["slicks", "candidates"].flatMap((one) => [
        drawn(`${one}-chosen`, one, "line", NONE, { "line-color": shade.chosen, "line-width": 7 }),
        drawn(`${one}-chosen-dot`, one, "circle", NONE, {
          "circle-radius": 11, "circle-color": "rgba(0, 0, 0, 0)", "circle-stroke-color": shade.chosen, "circle-stroke-width": 3,
        }),
      ]),
      drawn("slicks-inside", "slicks", "fill", isShape, { "fill-color": colour, "fill-opacity": ["*", 0.18, faded] }),
      drawn("slicks", "slicks", "line", isShape, { "line-color": colour, "line-width": 2, "line-opacity": faded }),
      drawn("slick-dots", "slicks", "circle", isDot, {
        "circle-radius": dot, "circle-color": colour, "circle-opacity": ["*", 0.85, faded],
        "circle-stroke-color": shade.sea, "circle-stroke-width": 1,
      }),
    ],
  };
}

/** The layers that show features of a collection, and can be clicked. */
export const LAYERS_OF = { slicks: ["slicks-inside", "slicks", "slick-dots"], candidates: ["candidates", "candidate-dots"] };

/** Filters that mark one feature of a collection. */
export function chosen(collection, id) {
  const is = id ? ["==", ["get", "id"], id] : NONE;
  return [
    [`${collection}-chosen`, ["all", isShape, is]],
    [`${collection}-chosen-dot`, ["all", isDot, is]],
  ];
}
