/** Recordings on their way to text: they wait, are sent, and followed until the server has recognised them. */

import * as api from "./api.js";
import * as history from "./history.js";

/** Recordings on their way at once: a browser opens few connections to a server, and each of them needs one. */
const AT_ONCE = 3;

const ACTIVE = new Set(["waiting", "sending", "queued", "running"]);

export const isActive = (recording) => ACTIVE.has(recording.status);

/**
 * Tells `changed` of each change of a recording, and of its segments as they come.
 *
 * A recording has `id`, `name`, `size`, `type`, `created`, `options` (form fields), `status`, and, once they are known,
 * `job`, `error`, `isFinal` (nobody need try again), `note`, `share` (0 to 1), `seconds`, `duration`, `language`, `languageProbability`.
 */
export class Work {
  constructor(changed) {
    this.changed = changed;
    this.waiting = [];
    this.running = new Map(); // id -> what cancels it
    this.live = new Map(); // id -> the segments so far
  }

  /** Take a file. */
  async add(file, name, options) {
    const recording = {
      id: history.newId(), name, size: file.size, type: file.type, created: Date.now(), options, status: "waiting",
    };
    history.putSound(recording.id, file); // Nobody waits for a large one.
    await history.putRecording(recording);
    this.enqueue(recording);
    return recording;
  }

  /** Keep a recording whose text is there already. */
  async keep(file, name, options, transcript) {
    const recording = {
      id: history.newId(), name, size: file.size, type: file.type, created: Date.now(), options, status: "done",
      share: null, duration: transcript.duration, language: transcript.language,
      languageProbability: transcript.language_probability,
    };
    history.putSound(recording.id, file);
    await history.putTexts(recording.id, { original: transcript, edited: transcript });
    return this.update(recording, {});
  }

  /** Go on with what was under way when the page was closed. */
  async resume() {
    for (const recording of (await history.recordings()).reverse()) {
      if (!isActive(recording) || this.running.has(recording.id)) continue;
      if (recording.job) this.enqueue(recording);
      else if (await isElsewhere(recording.id)) continue;
      else await this.fail(recording, "The page was closed before all of the recording was sent.");
    }
  }

  retry(recording) {
    this.enqueue({ ...recording, error: null, isFinal: false, status: recording.job ? "running" : "waiting" });
  }

  enqueue(recording) {
    this.waiting.push(recording);
    this.update(recording, {});
    this.startNext();
  }

  /** Stop and forget what is under way. */
  async cancel(recording) {
    this.waiting = this.waiting.filter((each) => each.id !== recording.id);
    this.running.get(recording.id)?.abort();
    this.live.delete(recording.id);
    if (recording.job) await api.removeJob(recording.job).catch(() => {});
  }

  startNext() {
    while (this.running.size < AT_ONCE && this.waiting.length) {
      const recording = this.waiting.shift(), control = new AbortController();
      this.running.set(recording.id, control);
      holding(recording.id, () => this.run(recording, control.signal)).finally(() => {
        this.running.delete(recording.id);
        this.startNext();
      });
    }
  }

  async run(recording, signal) {
    try {
      if (!recording.job) recording = await this.send(recording, signal);
      await this.finish(await this.follow(recording, signal));
    } catch (error) {
      if (!signal.aborted) await this.stop(recording, error);
    }
  }

  /** Send the recording; as long as the server is busy, again. */
  async send(recording, signal) {
    const file = await history.sound(recording.id);
    if (!file) {
      throw new api.ServerError("The browser has not kept the recording. Choose the file again.", null, { isFinal: true });
    }
    for (;;) {
      recording = await this.update(recording, { status: "sending", share: 0, note: null });
      const progress = (share) => this.changed({ ...recording, share });
      try {
        const job = await api.createJob(file, recording.name, recording.options, progress, signal);
        return await this.update(recording, { status: job.status, job: job.id });
      } catch (error) {
        if (error.status !== 429) throw error;
        for (let left = Math.ceil(error.wait); left > 0; left--) {
          this.changed({ ...recording, status: "waiting", note: `The server is busy. Trying again in ${left} s.` });
          await api.pause(1, signal);
        }
      }
    }
  }

  /** Follow a job until it is done. */
  async follow(recording, signal) {
    const segments = [];
    this.live.set(recording.id, segments);
    const lost = (failures) => {
      recording = { ...recording, note: failures ? "The connection is lost. Trying again." : null };
      this.changed(recording);
    };
    for await (const { name, data } of api.jobEvents(recording.job, signal, lost)) {
      if (name === "segment") {
        segments.push(data);
        this.changed(recording, data);
      } else {
        const job = data.job ?? data;
        if (job.error) throw api.jobError(job.error);
        if (job.status === "cancelled") throw new Error("The job was cancelled.");
        const { seconds, total } = job.progress ?? job;
        if (job.status && job.status !== recording.status && isActive(job)) {
          recording = await this.update(recording, { status: job.status });
        }
        recording = { ...recording, ...(job.language && { language: job.language }) };
        if (seconds != null) recording = { ...recording, seconds, share: total ? seconds / total : null, total };
        this.changed(recording);
      }
    }
    return recording;
  }

  /** Keep the text here, and let the server forget it. */
  async finish(recording) {
    const original = await api.jobResult(recording.job);
    await history.putTexts(recording.id, { original, edited: original });
    await this.update(recording, {
      status: "done", share: null, note: null, error: null, duration: original.duration, language: original.language,
      languageProbability: original.language_probability,
    });
    this.live.delete(recording.id);
    if (history.isKept()) await api.removeJob(recording.job).catch(() => {});
  }

  async stop(recording, error) {
    const stored = await history.recording(recording.id);
    if (!stored) return; // The user has deleted it.
    if (stored.status === "done") {
      this.changed(stored); // Another window was faster.
    } else if (error.status === 0) {
      await this.fail(stored, error.message); // The job goes on without us.
    } else {
      if (stored.job) await api.removeJob(stored.job).catch(() => {});
      await this.fail({ ...stored, job: null, isFinal: Boolean(error.isFinal) }, api.withoutName(error.message, stored.name));
    }
  }

  fail(recording, error) {
    this.live.delete(recording.id);
    return this.update(recording, { status: "failed", error, note: null, share: null });
  }

  async update(recording, change) {
    const changed = { ...recording, ...change };
    await history.putRecording(changed);
    this.changed(changed);
    return changed;
  }
}

// Windows of one browser share the history. A lock says which of them sends a recording; plain http has none.

const lock = (id) => `mtasr-${id}`;

async function isElsewhere(id) {
  const held = (await navigator.locks?.query())?.held ?? [];
  return held.some((each) => each.name === lock(id));
}

function holding(id, work) {
  return navigator.locks ? navigator.locks.request(lock(id), { ifAvailable: true }, work) : work();
}
