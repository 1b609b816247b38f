// The page of one recording: its data and its sound are in the page, or the sound is a file beside it.

const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const audio = get("audio"), sound = get("sound"), data = JSON.parse(get("data").textContent);
if (sound) audio.src = URL.createObjectURL(new Blob([bytes(sound.textContent)], { type: "audio/mpeg" }));
audio.addEventListener("error", () => {
  get("problem").hidden = false;
  get("problem").textContent = `The sound cannot be played: ${audio.getAttribute("src").slice(0, 80)}`;
});

const header = document.querySelector("header");
const text = document.querySelector("main");
const speakers = new Speakers({ text, legend: get("people"), filtered: () => viewer.refresh() });
speakers.load({ turns: data.turns });
const viewer = new Viewer({ audio, text, covered: () => [header.offsetHeight, 0] });
document.addEventListener("keydown", (event) => viewer.press(event));

function theme(name) {
  document.documentElement.dataset.theme = name;
  get("theme").textContent = name === "dark" ? "Light" : "Dark";
  viewer.recolour();
}
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
get("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

theme(dark.matches ? "dark" : "light");
viewer.load({ ...data, peaks: bytes(data.peaks), speakers });
const asked = /^#t=([\d.]+)$/.exec(location.hash);
if (asked) {
  audio.addEventListener("loadedmetadata", () => {
    viewer.seek(+asked[1], false);
    if (viewer.current) viewer.intoSight(viewer.current.span);
  }, { once: true });
}
