// A sentence over the map about what cannot be shown.

const place = document.getElementById("notice");

export function notice(sentence) {
  place.textContent = sentence;
  place.hidden = !sentence;
}
