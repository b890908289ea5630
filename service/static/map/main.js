// The page of the map: its parts, put together.

import { startChart } from "./chart.js";
import { startDetails } from "./details.js";
import { startFilters } from "./filters.js";
import { asked } from "./known.js";
import { startLayers } from "./layers.js";
import { startLists } from "./lists.js";
import { startReview } from "./review.js";
import { notice } from "./notice.js";
import { reselect } from "./selection.js";
import { startSwipe } from "./swipe.js";

async function start() {
  const summary = await asked("/map/summary").catch((error) => {
    notice(error.message);
    return null;
  });
  const chart = startChart(summary);
  startLayers();
  startSwipe(chart);
  startFilters(chart, summary);
  startDetails(chart);
  startLists(chart);
  startReview(chart);
  reselect();
  if (summary?.scenes === 0) notice("The catalogue is empty: no scene has been analysed yet.");
  document.body.dataset.ready = "yes";
}

start();
