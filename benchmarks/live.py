"""Delay and word errors of live captions, one policy after the other.

    OMP_NUM_THREADS=1 python benchmarks/live.py MANIFEST [--start 60] [--seconds 40] [--beam 1] POLICY...

A POLICY is a list of NAME=VALUE between commas: fields of `LivePolicy`, or "default"; "agreement:" before it chooses
LocalAgreement-2 (arXiv:2307.14743) in place of ours. A manifest is a JSON list of objects with "audio" (beside it),
"language" and "segments" with start, end and text. Of each recording the segments within `--seconds` from `--start` on
are heard.

Time is simulated: audio arrives at its own pace, and a draft is there once one core has computed it, by the time that
the process spent computing. Final texts have a core of their own. So other programs hardly change the figures. For
each policy, this prints medians and 95th percentiles, in seconds:

- draft, commit: from the end of a word to its first right draft, and to the moment it is committed or final. Word times
  and spelling are those of the recording's own transcript; words that it has and the captions lack do not count.
- final: from the end of speech to the final text of the stretch, if it ends with a pause;
- cut: from the place where a long stretch is cut, between two words that were said a while ago, to its final text.

and word errors in percent, compared with the references: of the transcript of the recording, of what was committed
(with the last draft of each stretch), and of the final texts; then seconds of computing for a second of audio.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from parity import edits, words

from mtasr.arrays import Float32Array
from mtasr.audio.read import open_audio
from mtasr.live import Committed, Draft, Event, Final, LivePolicy, SpeechStarted, SpeechStopped, decoding
from mtasr.live.agreement import DraftedWord
from mtasr.live.captioner import Captioner, DraftTask, FinalTask, OpenStretch
from mtasr.live.decoding import LiveDecoder
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model, load_model
from mtasr.transcript import Word

T = TypeVar("T")

#: Samples of a block as a microphone gives them.
_BLOCK = SAMPLE_RATE // 10
#: A word of the captions is the same as one of the transcript if it begins this near to it, in seconds.
_NEAR = 1.0


class LocalAgreement(Captioner):
    """The whole buffer is decoded anew, and what two runs in a row begin with is committed. Nothing is given to the
    model but the text before the buffer, which is cut at 15 s after a sentence.
    """

    _MOST = 15.0

    def _given(self, stretch: OpenStretch) -> tuple[int, ...]:
        return ()

    def _commit(self, stretch: OpenStretch, pieces: Sequence[DraftedWord]) -> None:
        known = [piece.key for piece in stretch.committed[-5:]]
        last = stretch.committed[-1].word.end if stretch.committed else 0.0
        new = [piece for piece in pieces if piece.word.start > last - 0.1]
        repeated = (n for n in range(len(known), 0, -1) if known[-n:] == [piece.key for piece in new[:n]])
        del new[: next(repeated, 0)]
        pairs = zip(new, stretch.drafted, strict=False)
        count = next((place for place, (one, other) in enumerate(pairs) if one.key != other.key), None)
        count = min(len(new), len(stretch.drafted)) if count is None else count
        self._tell(stretch, new, count)
        stretch.committed.extend(new[:count])
        if (self.heard - stretch.cut) / SAMPLE_RATE > self._MOST:
            self._trim(stretch)

    def _trim(self, stretch: OpenStretch) -> None:
        inside = [piece for piece in stretch.committed if piece.word.start * SAMPLE_RATE >= stretch.cut]
        ends = [piece for piece in inside[:-1] if piece.word.word.rstrip().endswith((".", "!", "?"))] or inside[:-1]
        if ends:
            stretch.cut = round(ends[-1].word.end * SAMPLE_RATE)
            kept = inside[: inside.index(ends[-1]) + 1]
            stretch.previous.extend(token for piece in kept for token in piece.tokens)


@dataclass
class Course:
    """What happened when, and what it took to compute."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    drafting: float = 0.0
    finishing: float = 0.0
    drafts: int = 0


def timed(compute: Callable[[], T]) -> tuple[T, float]:
    begun = time.process_time()
    return compute(), time.process_time() - begun


def heard(captioner: Captioner, decoder: LiveDecoder, samples: Float32Array) -> Course:
    """Hear samples at their own pace, with a core for drafts and one for final texts."""
    course = Course()
    draft_at = final_at = 0.0

    def step() -> bool:
        nonlocal draft_at, final_at
        step = captioner.step()
        now = max(captioner.heard / SAMPLE_RATE, draft_at)
        if isinstance(step, DraftTask):
            pieces, took = timed(lambda: decoder.draft(step))
            draft_at = now + took
            course.drafting, course.drafts = course.drafting + took, course.drafts + 1
            captioner.drafted(step, pieces, draft_at - step.window.offset - step.window.seconds)
        elif isinstance(step, FinalTask):
            (decoded, language), took = timed(lambda: decoder.final(step))
            final_at = max(now, final_at) + took
            course.finishing += took
            course.events.append((final_at, Final(stretch=step.stretch, segments=decoded.segments, language=language)))
        elif step is not None:
            course.events.append((now, step))
        return step is not None

    for start in range(0, len(samples), _BLOCK):
        captioner.add(samples[start : start + _BLOCK])
        while step():
            pass
    captioner.add(samples[:0], last=True)
    captioner.cut()
    while step():
        pass
    return course


@dataclass
class Delays:
    """Seconds of each word and stretch."""

    drafted: list[float] = field(default_factory=list)
    committed: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    cut: list[float] = field(default_factory=list)

    def add(self, course: Course, spoken: Sequence[Word]) -> None:
        """Add those of a recording with these words."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(spoken):
            places[key(word)].append(place)
        drafted: dict[int, float] = {}
        committed: dict[int, float] = {}
        stopped: dict[int, float] = {}
        # Where a stretch is cut, the next one starts.
        started = {event.at for _, event in course.events if isinstance(event, SpeechStarted)}
        for at, event in sorted(course.events, key=lambda each: each[0]):
            if isinstance(event, SpeechStopped):
                stopped[event.stretch] = event.at
            elif isinstance(event, Final):
                kind = self.cut if stopped[event.stretch] in started else self.final
                kind.append(at - stopped[event.stretch])
            for word in words_of(event):
                for place in places.get(key(word), ()):
                    if abs(spoken[place].start - word.start) < _NEAR:
                        drafted.setdefault(place, at)
                        if not isinstance(event, Draft):
                            committed.setdefault(place, at)
        self.drafted += [at - spoken[place].end for place, at in drafted.items()]
        self.committed += [at - spoken[place].end for place, at in committed.items()]


def words_of(event: Event) -> Iterator[Word]:
    if isinstance(event, Draft | Committed):
        yield from event.words
    elif isinstance(event, Final):
        for segment in event.segments:
            yield from segment.words or ()


def key(word: Word) -> str:
    return "".join(filter(str.isalnum, word.word.casefold()))


def texts(course: Course) -> tuple[str, str]:
    """What was committed, with the last draft of each stretch, and the final texts."""
    committed: defaultdict[int, str] = defaultdict(str)
    drafts: dict[int, str] = {}
    finals: dict[int, str] = {}
    for _, event in course.events:
        if isinstance(event, Committed):
            committed[event.stretch] += event.text
        elif isinstance(event, Draft):
            drafts[event.stretch] = event.text
        elif isinstance(event, Final):
            finals[event.stretch] = event.text
    shown = [committed[stretch] + drafts.get(stretch, "") for stretch in sorted(finals)]
    return " ".join(shown), " ".join(finals[stretch] for stretch in sorted(finals))


@dataclass
class Excerpt:
    """Part of a recording, with its reference and what the model makes of it as a file."""

    language: str
    samples: Float32Array
    reference: str
    text: str
    spoken: list[Word]


def excerpts(manifest: Path, model: Model, start: float, seconds: float) -> Iterator[Excerpt]:
    for clip in json.loads(manifest.read_text()):
        within = [each for each in clip["segments"] if start <= each["start"] and each["end"] <= start + seconds]
        if not within:
            continue
        edges = [round((time + margin) * SAMPLE_RATE) for time, margin in
                 ((within[0]["start"], -0.2), (within[-1]["end"], 0.2))]  # fmt: skip
        with contextlib.closing(open_audio(manifest.parent / clip["audio"])) as audio:
            samples = np.concatenate(list(audio))
        part = np.pad(samples[max(0, edges[0]) : edges[1]], (0, SAMPLE_RATE))
        transcript = model.transcribe(part, language=clip["language"], word_timestamps=True)
        spoken = [word for segment in transcript for word in segment.words or () if key(word)]
        yield Excerpt(clip["language"], part, " ".join(each["text"] for each in within), transcript.text, spoken)


def measure(model: Model, policy: str, heard_of: Sequence[Excerpt]) -> str:
    method, _, fields = policy.rpartition(":")
    named: dict[str, Any] = {} if fields == "default" else dict(item.split("=") for item in fields.split(","))
    settings = LivePolicy(**{name: json.loads(value) for name, value in named.items()})
    delays, errors, length = Delays(), [0, 0, 0], 0
    drafting = finishing = seconds = 0.0
    for each in heard_of:
        kind = LocalAgreement if method == "agreement" else Captioner
        options = DecodingOptions(language=each.language, word_timestamps=True)
        course = heard(kind(settings, model.new_detector()), LiveDecoder(model, options), each.samples)
        delays.add(course, each.spoken)
        reference = words(each.reference)
        length += len(reference)
        for place, text in enumerate((each.text, *texts(course))):
            errors[place] += edits(reference, words(text))
        drafting, finishing = drafting + course.drafting, finishing + course.finishing
        seconds += len(each.samples) / SAMPLE_RATE
    columns = [f"{np.median(found):.2f} {np.percentile(found, 95):.2f}" if found else "-" for found in
               (delays.drafted, delays.committed, delays.final, delays.cut)]  # fmt: skip
    rates = [f"{100 * count / length:.1f}" for count in errors]
    return " | ".join([policy, *columns, *rates, f"{drafting / seconds:.2f}", f"{finishing / seconds:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("policies", nargs="+", metavar="POLICY")
    parser.add_argument("--model", default="base")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--beam", type=int, default=1, help="beam of drafts")
    asked = parser.parse_args()
    usual = decoding.draft_options
    decoding.draft_options = lambda options: replace(usual(options), beam_size=asked.beam)
    model = load_model(asked.model, threads=1, workers=1)
    heard_of = list(excerpts(asked.manifest, model, asked.start, asked.seconds))
    print("policy | draft | commit | final | cut | file % | committed % | final % | drafting | finishing")
    for policy in asked.policies:
        print(measure(model, policy, heard_of), flush=True)


if __name__ == "__main__":
    main()
