// Review of the selected slick: its journal, buttons and keys, and the queue of those that wait.

import { refresh } from "./chart.js";
import { asked, counted, sent } from "./known.js";
import { relist } from "./lists.js";
import { onSelect, reselect, select, selected } from "./selection.js";

const element = (id) => document.getElementById(id);
const KEYS = { c: () => add("confirmed"), r: () => add("rejected"), u: undo, n: next };
let journal = null; // of the selected slick: status, reviews, tag
let redraw = () => {};

export function startReview(map) {
  redraw = () => {
    refresh(map);
    relist();
  };
  for (const button of document.querySelectorAll("[data-review]")) button.addEventListener("click", () => add(button.dataset.review));
  element("review-undo").addEventListener("click", undo);
  for (const id of ["review-next", "review-first"]) element(id).addEventListener("click", next);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea") && !["checkbox", "radio", "range"].includes(event.target.type);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  onSelect(show);
}

function path(id) {
  return `/collections/slicks/items/${encodeURIComponent(id)}/reviews`;
}

async function show(feature) {
  const id = feature?.collection === "slicks" ? feature.id : "";
  element("review").hidden = !id;
  journal = null; // until that of this slick is here, nothing can be added
  if (!id) return;
  const words = element("review").dataset.id === id ? element("review-state").dataset.words ?? "" : "";
  if (element("review").dataset.id !== id) element("review-notes").value = "";
  element("review").dataset.id = id;
  try {
    const found = await asked(path(id));
    if (selected()?.id !== id) return;
    journal = found;
    list(words);
  } catch (error) {
    say(error.message);
  }
}

function list(words = "") {
  element("journal").replaceChildren(
    ...journal.reviews.map((one) => {
      const item = document.createElement("li");
      const when = one.reviewed_at.slice(0, 16).replace("T", " ");
      item.textContent = `${one.status}, ${one.reviewer ?? "somebody"}, ${when} UTC${one.notes ? `: ${one.notes}` : ""}`;
      return item;
    }),
  );
  element("review-undo").disabled = !journal.reviews.length;
  say(words || `This slick is ${journal.status}.`);
  element("review-state").dataset.words = "";
}

function say(sentence) {
  element("review-state").textContent = sentence;
}

async function add(status, notes = element("review-notes").value.trim()) {
  const id = selected()?.id;
  if (!journal || element("review").hidden) return;
  try {
    const added = await sent(path(id), { status, notes }, journal.tag);
    redraw();
    if (selected()?.id !== id) return;
    journal = added;
    element("review-notes").value = "";
    list(`Saved: ${status}.`);
  } catch (error) {
    if (error.status === 412) {
      element("review-state").dataset.words = error.message;
      reselect();
    } else if (error.status === 401) say("A review needs a token: slickwatch tokens add NAME --scope review");
    else say(error.message);
  }
}

/** Add the review before the last one again, or none where there was none. */
function undo() {
  if (!journal?.reviews.length) return;
  const before = journal.reviews.at(-2);
  add(before?.status ?? "unreviewed", before?.notes ?? "");
}

async function next() {
  try {
    const { slicks, numberMatched } = await asked(`/reviews/queue?limit=2`);
    const following = slicks.find((one) => one.id !== selected()?.id);
    if (following) select("slicks", following.id);
    else say(numberMatched ? "This is the last slick without a review." : "No slick waits for a review.");
    element("results-count").textContent = counted(numberMatched, "slick waits for a review", "slicks wait for a review");
  } catch (error) {
    say(error.message);
  }
}
