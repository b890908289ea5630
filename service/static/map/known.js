// What the service tells the page: addresses, attributes, colours.

export const known = JSON.parse(document.getElementById("known").textContent);

const PLURAL = new Intl.PluralRules("en");

export function counted(number, one, many) {
  return `${number.toLocaleString("en")} ${PLURAL.select(number) === "one" ? one : many}`;
}

/** Send a document to the service; answers with its document. Throws an Error with its sentence, and `status`. */
export async function sent(path, content, tag) {
  const answer = await fetch(known.base + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "If-Match": tag },
    body: JSON.stringify(content),
  }).catch(() => {
    throw new Error("The service does not answer. Is slickwatch serve still running?");
  });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(document.detail ?? `The service answers ${answer.status}.`), { status: answer.status });
  return { ...document, tag: answer.headers.get("ETag") };
}

/** A document of the service. Throws an Error with its sentence where it has none. */
export async function asked(path, signal) {
  let answer;
  try {
    answer = await fetch(known.base + path, { signal, headers: { Accept: "application/json, application/geo+json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer. Is slickwatch serve still running?");
  }
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(document.detail ?? `The service answers ${answer.status}.`);
  return Object.assign(document, { tag: answer.headers.get("ETag") });
}
