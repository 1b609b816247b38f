/** Records the microphone. */

const TYPES = { "audio/webm;codecs=opus": "webm", "audio/mp4": "m4a", "audio/ogg;codecs=opus": "ogg" };

/** Why the microphone cannot be used here, as a sentence; null if nothing is known to be in the way. */
export function obstacle() {
  if (!isSecureContext) {
    return (
      "Browsers give the microphone only to pages that came over HTTPS or from this computer. "
      + `Open http://localhost:${location.port || 80}/ on the computer that runs the server, or start the server with `
      + "--tls-cert and --tls-key and open this page with https://."
    );
  }
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) return "This browser cannot record.";
  return null;
}

/** The reason in words for an error of `getUserMedia`. */
function reason(error) {
  return {
    NotAllowedError: "The browser may not use the microphone. Allow it in the settings of this page, and press Record again.",
    NotFoundError: "No microphone was found. Connect one, and press Record again.",
    NotReadableError: "The microphone cannot be opened; another program may be using it.",
  }[error.name] ?? `The microphone cannot be used: ${error.message}`;
}

export class Recorder {
  /** Ask for the microphone and start. Throws an `Error` whose message is for the user. */
  static async start() {
    const obstructed = obstacle();
    if (obstructed) throw new Error(obstructed);
    try {
      return new Recorder(await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } }));
    } catch (error) {
      throw new Error(reason(error), { cause: error });
    }
  }

  constructor(stream) {
    this.stream = stream;
    this.parts = [];
    this.type = Object.keys(TYPES).find((type) => MediaRecorder.isTypeSupported(type));
    this.recorder = new MediaRecorder(stream, this.type && { mimeType: this.type, audioBitsPerSecond: 48_000 });
    this.recorder.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.before = 0; // Milliseconds recorded before the last pause.
    this.since = performance.now();
    this.recorder.start(1000);
    navigator.wakeLock?.request("screen").then((wake) => { this.wake = wake; }, () => {});
  }

  get isPaused() { return this.recorder.state === "paused"; }

  get seconds() { return (this.before + (this.isPaused ? 0 : performance.now() - this.since)) / 1000; }

  /** The loudness of this moment, from 0 to 1, as a meter shows it. */
  get level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const peak = this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    return Math.max(1 + Math.log10(Math.max(peak, 1e-6)) / 3, 0);
  }

  toggle() {
    if (this.isPaused) {
      this.since = performance.now();
      this.recorder.resume();
    } else {
      this.before += performance.now() - this.since;
      this.recorder.pause();
    }
  }

  /** Stop; resolves to the recording. */
  async stop() {
    const stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await stopped;
    this.stream.getTracks().forEach((track) => track.stop());
    this.context.close();
    this.wake?.release();
    const when = new Date(), two = (number) => String(number).padStart(2, "0");
    const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
    const name = `Recording ${day} ${two(when.getHours())}.${two(when.getMinutes())}.${TYPES[this.type] ?? "webm"}`;
    return new File(this.parts, name, { type: this.recorder.mimeType.split(";")[0] });
  }
}
