// What the filters of the page ask of the service: parameters of OGC API - Features, with CQL2.

import { current } from "./state.js";

/** The parameters for a collection by the state's filters. */
export function query(collection, further = {}) {
  const state = current();
  const asked = { ...further };
  if (state.from || state.to) asked.datetime = `${state.from || ".."}/${state.to || ".."}`;
  if (state.box && !asked.bbox) asked.bbox = state.box.join(",");
  const conditions = collection === "scenes" ? [] : filters(collection, state);
  if (state.box && asked.bbox !== state.box.join(",")) {
    const [west, south, east, north] = state.box;
    conditions.push(`S_INTERSECTS(geometry, BBOX(${west}, ${south}, ${east}, ${north}))`);
  }
  if (conditions.length) asked.filter = conditions.join(" AND ");
  return new URLSearchParams(asked).toString();
}

function filters(collection, state) {
  const found = [];
  const among = (attribute, values, all) => {
    if (values.length < all) found.push(values.length ? `${attribute} IN (${values.map((one) => `'${one}'`).join(", ")})` : "FALSE");
  };
  const between = (attribute, least, most, unit = 1) => {
    if (least !== "") found.push(`${attribute} >= ${Number(least) * unit}`);
    if (most !== "") found.push(`${attribute} <= ${Number(most) * unit}`);
  };
  between("area_m2", state.least, state.most, 1e6);
  between("wind_speed_ms", state.calmest, state.windiest);
  if (collection === "slicks") {
    among("class", state.class, 2);
    among("status", state.status, 3);
    if (state.confidence > 0) found.push(`confidence_mean >= ${state.confidence}`);
  }
  return found;
}
