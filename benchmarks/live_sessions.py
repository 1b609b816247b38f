"""Live sessions in real time, beside each other in one process: delays, word errors, processor time and memory.

    python benchmarks/live_sessions.py MANIFEST --sessions 4 --minutes 10 [--pace 1]
    python benchmarks/live_sessions.py MANIFEST --minutes 240 --pace 10
    python benchmarks/live_sessions.py --nobody --minutes 10 --pace 10
    python benchmarks/live_sessions.py MANIFEST --pauses 60 --minutes 10 --pace 4

A manifest is that of live.py. Each session hears one of its recordings again and again until the time is over; with
--mixed, all of them in turn, which are in other languages than the one that the session has found; with --pauses, that
much silence follows each 20 s of speech. With --nobody, each
session hears silence, white and pink noise, hum, chords and bursts, a minute each. Audio comes in blocks of 100 ms,
--pace times as fast as it was recorded.

Delays are in seconds, the median and the 95th percentile over all sessions, for the first and for the last third of the
time: from the end of a word to the moment it is committed, by the word's own time, and from the end of speech to the
final text of a stretch that ends with a pause. "Changed" counts drafts and committed words of a stretch that has its
final text already: there must be none. "Kept" is the share of committed words that the final text has too. Memory is
the resident set of the process after each tenth of the time (Linux).
"""

from __future__ import annotations

import argparse
import difflib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from noise import coloured
from parity import words
from speed import machine, table

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.live import Committed, Draft, Final, Lag, LivePolicy, LiveSession, SpeechStarted, SpeechStopped
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model, load_model

_BLOCK = SAMPLE_RATE // 10
#: Seconds of speech between two pauses.
_SAID = 20


@dataclass
class Heard:
    """What happened in one session. Times are those of the sound, in seconds from its start."""

    committed: list[tuple[float, float]] = field(default_factory=list)  # when, how late
    final: list[tuple[float, float]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    changed: int = 0
    kept: int = 0
    count: int = 0
    text: list[str] = field(default_factory=list)
    error: str = ""


def nobody(rng: np.random.Generator) -> Iterator[Float32Array]:
    """Minutes in which nobody speaks."""
    size = 60 * SAMPLE_RATE
    at = np.arange(size) / SAMPLE_RATE
    yield np.zeros(size, np.float32)
    for kind in ("white", "pink"):
        yield (0.05 * coloured(kind, size, rng)).astype(np.float32)
    yield (0.05 * np.sin(2 * np.pi * 50 * at) + 0.02 * np.sin(2 * np.pi * 150 * at)).astype(np.float32)
    chords = sum(np.sin(2 * np.pi * np.where(at % 4 < 2, low, low * 1.5) * at) for low in (220.0, 277.2, 329.6))
    yield (0.05 * chords * np.exp(-2 * (at % 0.5))).astype(np.float32)
    bursts = coloured("white", size, rng) * (at % 3 < 0.1)
    yield (0.2 * bursts).astype(np.float32)


def recordings(manifest: Path, pauses: float) -> list[Float32Array]:
    found = []
    for each in json.loads(manifest.read_text(encoding="utf-8")):
        with open_audio(manifest.parent / each["audio"]) as stream:
            samples = np.concatenate(list(stream))
        if pauses:
            quiet = np.zeros(int(pauses * SAMPLE_RATE), np.float32)
            parts = np.split(samples, range(_SAID * SAMPLE_RATE, len(samples), _SAID * SAMPLE_RATE))
            samples = np.concatenate([each for part in parts for each in (part, quiet)])
        found.append(samples)
    return found


def blocks(sounds: list[Float32Array], seconds: float) -> Iterator[Float32Array]:
    left = round(seconds * SAMPLE_RATE)
    for sound in cycle(sounds):
        for start in range(0, len(sound), _BLOCK):
            block = sound[start : start + _BLOCK][:left]
            left -= len(block)
            yield block
            if left <= 0:
                return


def feed(session: LiveSession, sound: Iterator[Float32Array], pace: float, begin: float) -> None:
    position = 0
    for block in sound:
        position += len(block)
        time.sleep(max(0.0, begin + position / SAMPLE_RATE / pace - time.monotonic()))
        session.add(block)
    session.end()


def listen(session: LiveSession, pace: float, begin: float, heard: Heard) -> None:
    stopped: dict[int, float] = {}
    paused: dict[int, float] = {}
    said: dict[int, str] = defaultdict(str)
    done: set[int] = set()
    last = -1.0
    for event in session.events():
        at = (time.monotonic() - begin) * pace
        if isinstance(event, SpeechStarted):
            if last == event.at:  # The stretch before was too long.
                paused.pop(event.stretch - 1, None)
        elif isinstance(event, SpeechStopped):
            last = stopped[event.stretch] = paused[event.stretch] = event.at
        elif isinstance(event, Draft | Committed):
            heard.changed += event.stretch in done
            if isinstance(event, Committed):
                said[event.stretch] += event.text
                heard.committed += [(at, at - word.end) for word in event.words]
        elif isinstance(event, Final):
            done.add(event.stretch)
            if event.stretch in paused:
                heard.final.append((at, at - paused[event.stretch]))
            before, after = words(said.pop(event.stretch, "")), words(event.text)
            matches = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
            heard.kept += sum(each.size for each in matches)
            heard.count += len(before)
            heard.text.append(event.text)
        elif isinstance(event, Lag):
            heard.lags.append(event.seconds)


def run(session: LiveSession, sound: Iterator[Float32Array], pace: float, heard: Heard) -> None:
    begin = time.monotonic()
    reader = threading.Thread(target=listen, args=(session, pace, begin, heard))
    reader.start()
    try:
        feed(session, sound, pace, begin)
    except Exception as error:
        heard.error = repr(error)
        session.close()
    reader.join()


def resident() -> float:
    """The resident set of this process in MiB."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096 / 2**20


def quantiles(late: list[float]) -> str:
    return "-" if not late else ", ".join(f"{value:.2f}" for value in np.quantile(late, (0.5, 0.95)))


def report(all_heard: list[Heard], args: argparse.Namespace) -> Iterator[str]:
    seconds = 60 * args.minutes
    rows = []
    for name, kind in (("committed", "committed"), ("final", "final")):
        events = [each for heard in all_heard for each in getattr(heard, kind)]
        thirds = [[late for at, late in events if low <= at / seconds * 3 < low + 1] for low in (0, 2)]
        rows.append([name, quantiles([late for _, late in events]), *map(quantiles, thirds)])
    yield from table(("Delay", "All", "First third", "Last third"), rows)
    count = sum(heard.count for heard in all_heard)
    yield ""
    yield f"Largest lag told: {max((lag for heard in all_heard for lag in heard.lags), default=0):.1f} s."
    yield f"Changed: {sum(heard.changed for heard in all_heard)}. Committed words: {count}."
    if count:
        yield f"Kept: {100 * sum(heard.kept for heard in all_heard) / count:.1f} %."
    yield f"Sessions that failed: {sum(bool(heard.error) for heard in all_heard)}."
    if args.nobody:
        yield f"Text: {' '.join(text for heard in all_heard for text in heard.text)!r}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--model", default="base")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pace", type=float, default=1)
    parser.add_argument("--pauses", type=float, default=0)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--not-exact", action="store_true", help="do not decode the whole beside the captions")
    args = parser.parse_args()
    if (args.manifest is None) is not args.nobody:
        parser.error("give a MANIFEST or --nobody")
    return args


def main() -> None:
    args = arguments()
    model: Model = load_model(args.model)
    rng = np.random.default_rng(0)
    sounds = list(nobody(rng)) if args.nobody else recordings(args.manifest, args.pauses)
    policy = LivePolicy(exact=not args.not_exact)
    all_heard = [Heard() for _ in range(args.sessions)]
    begin, used = time.monotonic(), time.process_time()
    sessions = [LiveSession(model, policy=policy) for _ in all_heard]
    threads = []
    for number, (session, heard) in enumerate(zip(sessions, all_heard, strict=True)):
        first = number % len(sounds)
        turns = sounds[first:] + sounds[:first] if args.mixed or args.nobody else [sounds[first]]
        threads.append(threading.Thread(target=run, args=(session, blocks(turns, 60 * args.minutes), args.pace, heard)))
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(
            min(6 * args.minutes / args.pace, max(0.1, begin + 60 * args.minutes / args.pace - time.monotonic()))
        )
        memory.append(resident())
    texts = [session.transcript().text for session in sessions if not args.not_exact]
    took = time.monotonic() - begin
    print(f"{args.sessions} sessions of {args.minutes:g} minutes at {args.pace:g} times the pace. {machine('cpu')}")
    print()
    print("\n".join(report(all_heard, args)))
    print(f"Processor: {(time.process_time() - used) / took:.2f} cores. Took {took:.0f} s.")
    print(f"Memory: {', '.join(f'{each:.0f}' for each in memory[:12])} MiB.")
    if args.nobody:
        print(f"Transcripts: {texts}")
    for session in sessions:
        session.close()


if __name__ == "__main__":
    main()
