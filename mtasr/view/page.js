"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("data").textContent);
  const audio = get("audio"), wave = get("wave"), overview = get("overview");
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const peaks = bytes(data.peaks);
  const duration = Math.max(data.duration, 0.01);
  const spans = [...document.querySelectorAll("main span")];
  const words = spans.map((span) => ({
    span, section: span.closest("section"), start: +span.dataset.s, end: +span.dataset.e, text: span.textContent,
    level: /^c\d$/.test(span.className) ? +span.className[1] : 3,
  }));
  const sections = [...document.querySelectorAll("main section")];
  // Channels and translations may overlap, so the text is not in order of time; this is.
  const inTime = words.map((_, number) => number).sort((a, b) => words[a].start - words[b].start);

  const sound = get("sound");
  if (sound) audio.src = URL.createObjectURL(new Blob([bytes(sound.textContent)], { type: "audio/mpeg" }));
  audio.addEventListener("error", () => {
    get("problem").hidden = false;
    get("problem").textContent = `The sound cannot be played: ${audio.getAttribute("src").slice(0, 80)}`;
  });

  // --- time ---------------------------------------------------------------------------------------------------------

  let now = 0, current = -1, view = { start: 0, length: Math.min(duration, 10) };

  function clock(seconds) {
    const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }

  /** The last of `count` places whose start is at `time` or before, or -1. */
  function lastBy(time, count, start) {
    let low = 0, high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start(middle) <= time) low = middle + 1; else high = middle;
    }
    return low - 1;
  }

  const placeAt = (time) => lastBy(time + 1e-3, inTime.length, (place) => words[inTime[place]].start);

  function seek(time, play) {
    now = Math.min(Math.max(time, 0), duration);
    audio.currentTime = now;
    if (play) audio.play().catch(() => {});
    show(true);
  }

  function toggle() {
    if (audio.paused) audio.play().catch(() => {}); else audio.pause();
  }

  function show(moved) {
    const place = placeAt(now);
    // The highlight stays for a moment after a word, so that it does not flicker between words.
    const word = place >= 0 && now < words[inTime[place]].end + 0.25 ? inTime[place] : -1;
    if (word !== current) {
      const before = words[current], after = words[word];
      before?.span.classList.remove("now");
      before?.section.classList.remove("now");
      after?.span.classList.add("now");
      after?.section.classList.add("now");
      current = word;
      if (after && get("follow").checked && !audio.paused) intoSight(after.span);
    }
    // While the sound plays, the view moves on before the playhead leaves it.
    if (now < view.start || now > view.start + view.length * (moved ? 1 : 0.9)) view.start = now - view.length * 0.1;
    view.start = Math.min(Math.max(view.start, 0), duration - view.length);
    get("clock").textContent = `${clock(now)} / ${clock(duration)}`;
    overview.setAttribute("aria-valuemax", duration.toFixed(1));
    overview.setAttribute("aria-valuenow", now.toFixed(1));
    overview.setAttribute("aria-valuetext", `${clock(now)} of ${clock(duration)}`);
    draw();
  }

  function intoSight(element) {
    const box = element.getBoundingClientRect(), top = document.querySelector("header").offsetHeight;
    if (box.top < top + 20 || box.bottom > innerHeight - 60) {
      scrollTo({ top: scrollY + box.top - top - (innerHeight - top) * 0.3, behavior: "instant" });
    }
  }

  function frame() {
    now = audio.currentTime;
    show(false);
    if (!audio.paused) requestAnimationFrame(frame);
  }
  audio.addEventListener("play", () => { get("play").textContent = "Pause"; frame(); });
  audio.addEventListener("pause", () => { get("play").textContent = "Play"; frame(); });

  // --- waveform -----------------------------------------------------------------------------------------------------

  let colours = {};
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["page", "text", "muted", "line", "c2", "c1", "c0", "edge", "now", "now-text", "speech", "wave", "quiet", "head", "doubt"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  function prepared(canvas) {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const paint = canvas.getContext("2d");
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    return [paint, width, height];
  }

  function speaks(time) {
    const place = lastBy(time, data.speech.length, (place) => data.speech[place][0]);
    return place >= 0 && time < data.speech[place][1];
  }

  /** Draw speech and the peaks over it, from `start` on for `length` seconds, in the upper `height` of a canvas. */
  function drawWave(paint, width, height, start, length) {
    const x = (time) => ((time - start) / length) * width;
    paint.fillStyle = colours.speech;
    for (const [from, to] of data.speech) {
      if (to > start && from < start + length) paint.fillRect(x(from), 0, Math.max(x(to) - x(from), 1), height);
    }
    for (const [from, to] of [...data.speechWithoutText, ...data.textWithoutSpeech]) {
      if (to > start && from < start + length) stripes(paint, x(from), Math.max(x(to) - x(from), 3), height);
    }
    for (let column = 0; column < width; column++) {
      const from = start + (column / width) * length, first = Math.floor(from * data.rate);
      const last = Math.max(Math.floor((start + ((column + 1) / width) * length) * data.rate), first + 1);
      let most = 0;
      for (let place = first; place < last && place < peaks.length; place++) most = Math.max(most, peaks[place]);
      const tall = Math.max((most / 255) * (height - 4), 1);
      paint.fillStyle = speaks(from) ? colours.wave : colours.quiet;
      paint.fillRect(column, (height - tall) / 2, 1, tall);
    }
  }

  function stripes(paint, left, width, height) {
    paint.save();
    paint.beginPath();
    paint.rect(left, 0, width, height);
    paint.clip();
    paint.strokeStyle = colours.doubt;
    paint.lineWidth = 1.5;
    for (let offset = left - height; offset < left + width; offset += 7) {
      paint.beginPath();
      paint.moveTo(offset, height);
      paint.lineTo(offset + height, 0);
      paint.stroke();
    }
    paint.restore();
  }

  function playhead(paint, x, height) {
    paint.fillStyle = colours.head;
    paint.fillRect(x - 1, 0, 2, height);
  }

  let still = null; // The overview without its playhead, which alone moves while the sound plays.
  function draw() {
    drawOverview();
    const [paint, width, height] = prepared(wave);
    const { start, length } = view, x = (time) => ((time - start) / length) * width;
    const lane = 24, axis = 16, tall = height - lane - axis;
    drawWave(paint, width, tall, start, length);
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "middle";
    for (let place = Math.max(placeAt(start - 30), 0); place < inTime.length; place++) {
      const word = words[inTime[place]];
      if (word.start > start + length) break;
      if (word.end < start) continue;
      const left = x(word.start), wide = Math.max(x(word.end) - left - 1, 1);
      paint.fillStyle = inTime[place] === current ? colours.now : colours[`c${word.level}`] ?? colours.page;
      paint.fillRect(left, tall + 1, wide, lane - 3);
      paint.strokeStyle = colours.line;
      paint.strokeRect(left + 0.5, tall + 1.5, wide, lane - 4);
      if (paint.measureText(word.text).width < wide - 4) {
        paint.fillStyle = inTime[place] === current ? colours["now-text"] : colours.text;
        paint.fillText(word.text, left + (wide - paint.measureText(word.text).width) / 2, tall + lane / 2);
      }
    }
    const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((each) => (each / length) * width > 60) ?? 3600;
    paint.fillStyle = colours.muted;
    for (let time = Math.ceil(start / step) * step; time < start + length; time += step) {
      paint.fillRect(x(time), tall + lane - 2, 1, 4);
      const label = step < 1 ? `${clock(time)}.${Math.round((time % 1) * 10)}` : clock(time);
      if (x(time) + paint.measureText(label).width < width) paint.fillText(label, x(time) + 3, height - axis / 2 + 1);
    }
    playhead(paint, x(now), tall + lane);
  }

  function drawOverview() {
    const [paint, width, height] = prepared(overview);
    const key = `${overview.width}x${overview.height}${document.documentElement.dataset.theme}`;
    if (!still || still.key !== key) {
      drawWave(paint, width, height, 0, duration);
      still = { key, image: document.createElement("canvas") };
      still.image.width = overview.width;
      still.image.height = overview.height;
      still.image.getContext("2d").drawImage(overview, 0, 0);
    } else {
      paint.drawImage(still.image, 0, 0, width, height);
    }
    if (view.length < duration) {
      paint.strokeStyle = colours.text;
      paint.lineWidth = 1.5;
      paint.strokeRect((view.start / duration) * width, 1, (view.length / duration) * width, height - 2);
    }
    playhead(paint, (now / duration) * width, height);
  }

  function zoom(factor) {
    const length = Math.min(Math.max(view.length * factor, 1), duration);
    view = { start: now - ((now - view.start) / view.length) * length, length };
    show(true);
  }

  wave.addEventListener("click", (event) => seek(view.start + (event.offsetX / wave.clientWidth) * view.length, true));
  overview.addEventListener("click", (event) => {
    const time = (event.offsetX / overview.clientWidth) * duration;
    seek(time, true);
    const place = placeAt(time);
    if (place >= 0) intoSight(words[inTime[place]].span);
  });
  wave.addEventListener("wheel", (event) => {
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8);
    else if (event.deltaX) view.start += (event.deltaX / wave.clientWidth) * view.length;
    else return;
    event.preventDefault();
    view.start = Math.min(Math.max(view.start, 0), duration - view.length);
    draw();
  }, { passive: false });

  // --- text ---------------------------------------------------------------------------------------------------------

  document.querySelector("main").addEventListener("click", (event) => {
    if (!getSelection().isCollapsed) return; // A selection is for copying.
    const span = event.target.closest("span[data-s]"), time = event.target.closest("button.time");
    if (span) seek(+span.dataset.s, true);
    else if (time) seek(+time.closest("section").dataset.s, true);
  });
  document.querySelector("main").addEventListener("mouseover", (event) => {
    const span = event.target.closest("span[data-s]");
    if (span && !span.title) {
      span.title = clock(+span.dataset.s) + (span.dataset.p ? `, ${Math.round(span.dataset.p * 100)} % sure` : "");
    }
  });

  function go(word) {
    seek(word.start, false);
    intoSight(word.span);
  }

  function step(by) {
    const place = Math.min(Math.max(placeAt(now) + by, 0), inTime.length - 1);
    if (inTime.length) go(words[inTime[place]]);
  }

  function stepSection(by) {
    const starts = sections.map((section) => +section.dataset.s);
    const wanted = by > 0
      ? Math.min(...starts.filter((start) => start > now + 0.01))
      : Math.max(...starts.filter((start) => start < now - 0.5), starts.length ? Math.min(...starts) : 0);
    if (!Number.isFinite(wanted)) return;
    seek(wanted, !audio.paused);
    intoSight(sections[starts.indexOf(wanted)]);
  }

  function unsure() {
    const doubtful = inTime.map((number) => words[number]).filter((word) => word.level === 0);
    const word = doubtful.find((each) => each.start > now + 0.01) ?? doubtful[0];
    if (word) go(word);
  }

  // --- search -------------------------------------------------------------------------------------------------------

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  let matches = [], chosen = -1;

  /** The text to search, and for each of its characters the word that it belongs to. */
  const texts = sections.map((section) => {
    const own = words.filter((word) => word.section === section);
    let text = "";
    const owners = [];
    for (const word of own) {
      const spaced = word.span.previousSibling?.nodeType === Node.TEXT_NODE && text;
      const piece = (spaced ? " " : "") + fold(word.text);
      text += piece;
      for (let at = 0; at < piece.length; at++) owners.push(word);
    }
    return { text, owners };
  });

  function search() {
    for (const word of matches.flat()) word.span.classList.remove("found", "at");
    matches = [];
    chosen = -1;
    const wanted = fold(get("search").value.trim());
    if (wanted) {
      for (const { text, owners } of texts) {
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          matches.push([...new Set(owners.slice(at, at + wanted.length))]);
        }
      }
      for (const word of matches.flat()) word.span.classList.add("found");
    }
    get("found").textContent = wanted ? `${matches.length} found` : "";
  }

  function choose(by) {
    if (!matches.length) return;
    for (const word of matches[chosen] ?? []) word.span.classList.remove("at");
    chosen = chosen < 0 ? (by > 0 ? 0 : matches.length - 1) : (chosen + by + matches.length) % matches.length;
    for (const word of matches[chosen]) word.span.classList.add("at");
    get("found").textContent = `${chosen + 1} of ${matches.length}`;
    go(matches[chosen][0]);
  }

  get("search").addEventListener("input", search);
  get("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") choose(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { get("search").value = ""; search(); get("search").blur(); }
  });
  get("next").addEventListener("click", () => choose(1));
  get("previous").addEventListener("click", () => choose(-1));

  // --- buttons and keys ---------------------------------------------------------------------------------------------

  function speed(by) {
    const choice = get("speed");
    choice.selectedIndex = Math.min(Math.max(choice.selectedIndex + by, 0), choice.options.length - 1);
    audio.playbackRate = +choice.value;
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    get("theme").textContent = name === "dark" ? "Light" : "Dark";
    readColours();
    draw();
  }

  get("play").addEventListener("click", toggle);
  get("speed").addEventListener("change", () => speed(0));
  get("wider").addEventListener("click", () => zoom(1.5));
  get("closer").addEventListener("click", () => zoom(1 / 1.5));
  get("unsure").addEventListener("click", unsure);
  get("unsure").disabled = !words.some((word) => word.level === 0);
  get("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

  const keys = {
    " ": toggle, k: toggle, u: unsure, "/": () => get("search").focus(), "[": () => speed(-1), "]": () => speed(1),
    "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5),
    ArrowUp: () => stepSection(-1), ArrowDown: () => stepSection(1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    if (on.matches("input[type=search], select")) return;
    if (event.key === " " && on.matches("button, summary, input")) return; // The key presses the control that has the focus.
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { if (event.shiftKey) step(by); else seek(now + 3 * by, false); }
    else if (keys[event.key] && !(event.key.startsWith("Arrow") && event.shiftKey)) keys[event.key]();
    else return;
    event.preventDefault();
  });
  addEventListener("resize", draw);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
  theme(dark.matches ? "dark" : "light");
  const asked = /^#t=([\d.]+)$/.exec(location.hash);
  if (asked) {
    audio.addEventListener("loadedmetadata", () => {
      seek(+asked[1], false);
      if (current >= 0) intoSight(words[current].span);
    }, { once: true });
  }
  show(true);
})();
