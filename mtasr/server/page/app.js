/** The page: which view it shows, and what belongs to all views. */

import * as api from "./api.js";
import { askForKey, complain, get, opened } from "./dialogs.js";
import * as history from "./history.js";
import { Home } from "./home.js";
import { Reader } from "./reader.js";
import { Work } from "./work.js";

const root = document.documentElement;

async function start() {
  api.onKeyWanted(askForKey);
  listenToTheme();
  get("help-button").addEventListener("click", () => opened(get("help")));
  navigator.serviceWorker?.register("/page/worker.js", { scope: "/" }).catch(() => {});
  const about = await known(api.about);
  if (!about) return;
  get("version").textContent = `mtasr ${about.version}`;
  const go = (id) => { location.hash = id ? `#/${id}` : "#/"; };
  go.cancel = async (recording) => { if (await home.remove(recording)) go(null); };
  const work = new Work((recording, segment) => {
    home.changed(recording);
    reader.changed(recording, segment);
  });
  const home = new Home(about, work, go), reader = new Reader(about, work, go);
  listenToKeys(reader);
  new MutationObserver(() => reader.viewer.recolour()).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  reader.viewer.recolour();
  history.onChangeElsewhere(() => home.refresh());
  addEventListener("hashchange", () => route(home, reader));
  await route(home, reader);
  root.dataset.ready = "";
  home.offerModels((await known(api.models)) ?? []);
  await work.resume();
}

/** What the server says; null if it refuses. As long as it cannot be reached, ask again. */
async function known(request) {
  for (;;) {
    try {
      const answer = await request();
      complain("");
      return answer;
    } catch (error) {
      complain(error.message);
      if (error.status) return null;
      await api.pause(3);
    }
  }
}

/** Show what the address says: the list, or one recording. */
async function route(home, reader) {
  const [, id] = /^#\/(\w*)$/.exec(location.hash || "#/") ?? [];
  if (id === undefined) return; // A place in the page.
  const recording = id ? await history.recording(id) : null;
  if (recording) {
    get("home").hidden = true;
    await reader.open(recording);
  } else {
    reader.close();
    document.title = "mtasr";
    get("home").hidden = false;
    await home.refresh();
  }
  scrollTo(0, 0);
}

function listenToKeys(reader) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const inField = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (event.key === "?" && !inField) opened(get("help"));
    else if (reader.isOpen) reader.press(event);
  });
}

function listenToTheme() {
  const button = get("theme"), other = () => (root.dataset.theme === "dark" ? "light" : "dark");
  const show = () => {
    button.textContent = other() === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `${button.textContent} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = other();
    localStorage.setItem("mtasr-theme", root.dataset.theme);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

start();
