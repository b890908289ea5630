// What the service tells the page: addresses, attributes, colours.

export const known = JSON.parse(document.getElementById("known").textContent);

const PLURAL = new Intl.PluralRules("en");

export function counted(number, one, many) {
  return `${number.toLocaleString("en")} ${PLURAL.select(number) === "one" ? one : many}`;
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
  return document;
}
