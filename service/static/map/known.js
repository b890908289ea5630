// What the service tells the page: addresses, attributes, colours.

export const known = JSON.parse(document.getElementById("known").textContent);

const PLURAL = new Intl.PluralRules("en");

export function counted(number, one, many) {
  return `${number.toLocaleString("en")} ${PLURAL.select(number) === "one" ? one : many}`;
}

/** Send a document to the service, by the tag of what it changes; answers as `asked` does. */
export function sent(path, content, tag) {
  const headers = { "Content-Type": "application/json", Accept: "application/json", "If-Match": tag };
  return answered(path, { method: "POST", headers, body: JSON.stringify(content) });
}

/** A document of the service, with its `tag`. Throws an Error with the service's sentence and `status`. */
export function asked(path, signal) {
  return answered(path, { signal, headers: { Accept: "application/json, application/geo+json" } });
}

async function answered(path, request) {
  const answer = await fetch(known.base + path, request).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is slickwatch serve still running?");
  });
  const document = await answer.json().catch(() => ({}));
  if (answer.ok) return Object.assign(document, { tag: answer.headers.get("ETag") });
  throw Object.assign(new Error(document.detail ?? `The service answers ${answer.status}.`), { status: answer.status });
}
