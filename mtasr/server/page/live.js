/** Live captions: sound goes to the server, events come back, and a lost connection is taken up again without loss. */

import * as api from "./api.js";

/** Sample rates that the server takes. */
const RATES = new Set([8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]);

/** Seconds without news after which the end is no longer waited for. */
const PATIENCE = 30;

/** Options of a recording that captions have, too. */
const OPTIONS = ["language", "task", "model", "hotwords", "multilingual"];

/** And those of speakers, if they are told apart by their voices. */
const SPEAKERS = ["diarize", "num_speakers", "speakers"];

export class LiveCaptions {
  /**
   * Caption what a recorder hears. `tell` is given each event, and `{ type: "state", state }` when the connection is
   * lost, back, or given up: "lost", "live" or "failed".
   */
  static async start(recorder, options, tell) {
    const captions = new LiveCaptions(recorder, options, tell);
    const { context, source } = recorder;
    try {
      if (!RATES.has(context.sampleRate)) throw new Error(`${context.sampleRate} samples a second`);
      await context.audioWorklet.addModule("/page/pcm.js");
      const listener = new AudioWorkletNode(context, "pcm", { numberOfOutputs: 0 });
      listener.port.onmessage = ({ data }) => { if (!recorder.isPaused) captions.add(data); };
      source.connect(listener);
      captions.connect();
    } catch {
      captions.fail();
    }
    return captions;
  }

  constructor(recorder, options, tell) {
    this.rate = recorder.context.sampleRate;
    this.fields = { sample_rate: this.rate, format: "pcm_s16le", word_timestamps: true };
    const names = options.diarize ? [...OPTIONS, ...SPEAKERS] : OPTIONS;
    for (const name of names) if (options[name]) this.fields[name] = options[name];
    this.tell = tell;
    Object.assign(this, { session: null, last: 0, isReady: false, isEnding: false, failures: 0, lostAt: null });
    this.blocks = []; // What the server has not acknowledged: { start, samples }.
    this.total = 0; // Samples heard.
    this.result = new Promise((resolve) => { this.settle = resolve; });
    this.isSettled = false;
  }

  // --- the connection -----------------------------------------------------------------------------------------------

  connect() {
    const socket = api.socket("/v1/live");
    this.socket = socket;
    socket.onopen = () => {
      const { session, last } = this;
      this.say(session ? { type: "resume", session, event: last } : { type: "start", ...this.fields });
    };
    socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    socket.onclose = () => this.lose();
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  hear(event) {
    this.heardAt = Date.now();
    if (event.event) this.last = event.event;
    if (event.type === "ready") this.ready(event);
    else if (event.type === "ack") this.forget(event.received);
    else if (event.type === "end") this.settled(event.transcript);
    else if (event.type === "error") this.refused(event);
    else this.tell(event);
  }

  /** Send what the server does not have. */
  ready({ session, received, resume_seconds: seconds }) {
    Object.assign(this, { session, resumeSeconds: seconds, isReady: true, failures: 0, lostAt: null });
    this.forget(received);
    for (const block of this.blocks) this.socket.send(block.samples.subarray(Math.max(received - block.start, 0)));
    if (this.isEnding) this.say({ type: "end" });
    this.tell({ type: "state", state: "live" });
  }

  forget(received) {
    this.blocks = this.blocks.filter(({ start, samples }) => start + samples.length > received);
  }

  /** An error ends the captions if it is the session's, or if there is none. */
  refused(event) {
    if (event.event || !this.isReady) this.fail();
  }

  lose() {
    this.isReady = false;
    if (this.isSettled) return;
    this.lostAt ??= Date.now();
    if (!this.session || Date.now() - this.lostAt > this.resumeSeconds * 1000) {
      this.fail();
      return;
    }
    this.tell({ type: "state", state: "lost" });
    setTimeout(() => { if (!this.isSettled) this.connect(); }, Math.min(2 ** this.failures++ * 250, 5000));
  }

  // --- the sound ----------------------------------------------------------------------------------------------------

  add(samples) {
    if (this.isSettled || this.isEnding) return;
    this.blocks.push({ start: this.total, samples });
    this.total += samples.length;
    if (this.isReady) this.socket.send(samples);
  }

  /** No sound follows; resolves to the transcript, or to null if there is none. */
  async finish() {
    this.isEnding = true;
    this.heardAt = Date.now();
    if (this.isReady) this.say({ type: "end" });
    const watch = setInterval(() => { if (Date.now() - this.heardAt > PATIENCE * 1000) this.fail(); }, 1000);
    const transcript = await this.result;
    clearInterval(watch);
    return transcript;
  }

  /** Nobody wants the text. */
  discard() {
    if (this.isReady) this.say({ type: "discard" });
    this.settled(null);
  }

  fail() {
    if (!this.isSettled) this.tell({ type: "state", state: "failed" });
    this.settled(null);
  }

  settled(transcript) {
    this.isSettled = true;
    this.blocks = [];
    this.settle(transcript);
    this.socket?.close();
  }
}
