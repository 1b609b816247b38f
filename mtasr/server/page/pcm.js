/** Hands on what the microphone hears, a tenth of a second at a time, as integers of 16 bits. Runs beside the page. */

class Pcm extends AudioWorkletProcessor {
  constructor() {
    super();
    this.start();
  }

  start() {
    this.block = new Int16Array(Math.round(sampleRate / 10));
    this.filled = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.block[this.filled++] = Math.max(-1, Math.min(sample, 1)) * 32767;
      if (this.filled < this.block.length) continue;
      this.port.postMessage(this.block, [this.block.buffer]);
      this.start();
    }
    return true;
  }
}

registerProcessor("pcm", Pcm);
