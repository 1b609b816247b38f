/** Questions to the user, and what is said to those who do not see the page. */

export const get = (id) => document.getElementById(id);

/** An element with attributes (`class` and so on, or functions for events) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value != null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** The name of a file as children of an element, which lines may break at its signs rather than inside its words. */
export function breakable(name) {
  return name.split(/(?<=[-_.,+])(?=[^-_.,+\s])/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));
}

/** Show a dialog; resolves to the value of the button that closed it, "" for the key Esc. */
export function opened(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** Ask for a text (if `name` says what it is) or for consent; resolves to the text, true, or null for no. */
export async function ask({ title, text = "", name = null, value = "", yes }) {
  get("ask-title").textContent = title;
  get("ask-text").textContent = text;
  get("ask-text").hidden = !text;
  get("ask-label").hidden = name === null;
  get("ask-name").textContent = name ?? "";
  get("ask-input").required = name !== null;
  get("ask-input").value = value;
  get("ask-yes").textContent = yes;
  const answer = opened(get("ask-dialog"));
  (name === null ? get("ask-yes") : get("ask-input")).focus();
  if (name !== null) get("ask-input").select();
  if ((await answer) !== "yes") return null;
  return name === null ? true : get("ask-input").value.trim() || null;
}

/** Ask for the key of the server; resolves to `{ key, keep }` or null. */
export async function askForKey(wrong) {
  get("key-title").textContent = wrong ? "The server refuses this key" : "This server needs a key";
  get("key").value = "";
  if ((await opened(get("key-dialog"))) !== "use") return null;
  return { key: get("key").value.trim(), keep: get("key-keep").checked };
}

/** Have a screen reader say something. */
export function say(text) {
  const said = get("said");
  said.textContent = said.textContent === text ? `${text}\u00a0` : text; // The same text twice would be silent.
}

/** Show what went wrong at the top of the page until something goes right; "" takes it away. */
export function complain(text) {
  get("problem").textContent = text;
  get("problem").hidden = !text;
}

/** Give the user a file. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
