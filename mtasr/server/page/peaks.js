/** The waveform of a file, made in the browser. */

import { NOTHING } from "./viewer.js";

/** Peaks in a second. */
const RATE = 100;

/** Samples in a second: enough to see loudness, and little memory. */
const SAMPLES = 8000;

/** Seconds of the longest recording that is decoded in one piece, which browsers do in memory. */
const LONGEST = 1200;

/** Bytes of a piece of a longer one. */
const PIECE = 4_000_000;

/** The peaks of a file, a byte for each 10 ms; none if the browser cannot decode it, or not in pieces where it must. */
export async function peaksOf(file, duration, { longest = LONGEST, piece = PIECE } = {}) {
  try {
    const files = duration <= longest ? [file] : await piecesOf(file, piece), heights = [];
    // The last piece may be a few bytes.
    for (const each of files) heights.push(await loudest(each).catch(() => new Float32Array(0)));
    return scaled(heights);
  } catch {
    return NOTHING.peaks;
  }
}

/** The file as several that can be decoded; none for formats other than MP3 and WAV. */
async function piecesOf(file, size) {
  const start = new DataView(await file.slice(0, 65_536).arrayBuffer());
  const is = (at, name) => [...name].every((char, place) => start.getUint8(at + place) === char.charCodeAt(0));
  if (is(0, "ID3") || (start.getUint16(0) & 0xffe0) === 0xffe0) return cut(file, 0, size, () => []);
  if (!is(0, "RIFF") || !is(8, "WAVE")) return [];
  let at = 12, second = size;
  while (!is(at, "data")) {
    if (is(at, "fmt ")) second = start.getUint32(at + 12, true) * start.getUint16(at + 20, true);
    at += 8 + start.getUint32(at + 4, true);
  }
  const header = new DataView(start.buffer.slice(0, at + 8));
  return cut(file, at + 8, Math.max(size - (size % second), second), (length) => {
    header.setUint32(4, at + length, true);
    header.setUint32(at + 4, length, true);
    return [header.buffer.slice()];
  });
}

/** Pieces of a file from `at` on, each after what `before` makes for its length. */
function* cut(file, at, size, before) {
  for (; at < file.size; at += size) {
    const part = file.slice(at, at + size);
    yield new Blob([...before(part.size), part]);
  }
}

/** The largest of the samples of each 10 ms. */
async function loudest(file) {
  const sound = await new OfflineAudioContext(1, 1, SAMPLES).decodeAudioData(await file.arrayBuffer());
  const step = SAMPLES / RATE, peaks = new Float32Array(Math.ceil(sound.length / step));
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel);
    for (let at = 0; at < samples.length; at++) {
      const place = Math.floor(at / step), height = Math.abs(samples[at]);
      if (height > peaks[place]) peaks[place] = height;
    }
  }
  return peaks;
}

/** All peaks in a row, the largest as 255. */
function scaled(heights) {
  const peaks = heights.flatMap((each) => [...each]), most = peaks.reduce((a, b) => Math.max(a, b), 1e-6);
  return Uint8Array.from(peaks, (peak) => Math.round((peak / most) * 255));
}
