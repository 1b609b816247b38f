/** The waveform of a file, made in the browser. */

import { NOTHING } from "./viewer.js";

/** Peaks in a second. */
const RATE = 100;

/** Seconds of the longest recording that is decoded: browsers do that in one piece, in memory. */
const LONGEST = 1200;

/** Samples in a second: enough to see loudness, and little memory. */
const SAMPLES = 8000;

/** The peaks of a file, a byte for each 10 ms; none if the browser cannot decode it or it is too long. */
export async function peaksOf(file, duration) {
  if (!(duration <= LONGEST)) return NOTHING.peaks;
  try {
    const sound = await new OfflineAudioContext(1, 1, SAMPLES).decodeAudioData(await file.arrayBuffer());
    return loudest(sound);
  } catch {
    return NOTHING.peaks;
  }
}

function loudest(sound) {
  const step = SAMPLES / RATE, peaks = new Float32Array(Math.ceil(sound.length / step));
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel);
    for (let at = 0; at < samples.length; at++) {
      const place = Math.floor(at / step), height = Math.abs(samples[at]);
      if (height > peaks[place]) peaks[place] = height;
    }
  }
  const most = peaks.reduce((a, b) => Math.max(a, b), 1e-6);
  return Uint8Array.from(peaks, (peak) => Math.round((peak / most) * 255));
}
