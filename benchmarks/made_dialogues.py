"""Dialogues made of single utterances, with the exact times at which each person speaks, for `diarization.py`.

    python benchmarks/made_dialogues.py FOLDER --clips MANIFEST [--same-voice en,es] [--cut] [--speakers 2-6]
    python benchmarks/made_dialogues.py FOLDER --synthetic [--count 10]

MANIFEST is a JSON list of objects with "audio" (beside the manifest), "speaker" (or "language", if each person speaks
one language; --same-voice names languages of one person) and perhaps "text". --cut makes utterances of long clips by
cutting them at pauses; their texts are then left out. --synthetic takes voices of espeak-ng and sentences of the
grammar.

Writes FOLDER/00.wav, 00.rttm and so on, and FOLDER/manifest.jsonl. No utterance occurs twice in a dialogue. A reference
turn lasts while the voice is heard; it goes on over pauses that are too short to count as pauses. What a dialogue
contains depends on the seed and its number alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grammar import sentence
from made_speech import Samples, coloured_noise

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from speech import SAMPLE_RATE, speak, write_wav

from mtasr.data.samples import read_samples

#: Seconds. Shorter silences belong to articulation (Goldman-Eisler, Psycholinguistics, 1968).
PAUSE = 0.25
#: A long clip is cut at its pauses, but not into utterances shorter than this.
SHORTEST = 1.5

#: Frames of 10 ms are heard if they are no softer than this below the loud ones, and above the clip's own noise.
_FRAME = 160
_HEARD_DB = -32.0
_ABOVE_NOISE_DB = 8.0
_NEVER_ABOVE_DB = -20.0
#: A sound shorter than this, with silence around it, is no speech.
_CLICK = 0.05

_LEVEL = 10 ** (-26 / 20)

#: espeak-ng's variants, each with a pitch; men and women. Breathy ones (f2, f3, f5) sound different each time.
_SYNTHETIC = (
    ("en-us+m1", 30), ("en-us+m3", 55), ("en-us+m7", 45), ("en-us+Andy", 40), ("en-us+f1", 60), ("en-us+m8", 75),
    ("en-us+f4", 50), ("en-us+Annie", 70), ("en-us+m4", 65), ("en-us+m2", 85), ("en-us+m5", 20), ("en-us+linda", 55),
)  # fmt: skip

Span = tuple[int, int]


@dataclass(frozen=True)
class Utterance:
    """Samples from where the voice begins to where it ends, and the stretches of it, in samples, that are heard."""

    samples: Samples
    heard: tuple[Span, ...]
    text: str | None
    language: str | None

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


#: Draws utterances of one person, without end or until there are no more.
Source = Callable[[np.random.Generator], Iterator[Utterance]]


@dataclass(frozen=True)
class Placed:
    """An utterance in a dialogue, from a sample on."""

    start: int
    speaker: str
    utterance: Utterance

    @property
    def end(self) -> int:
        return self.start + len(self.utterance.samples)


# Utterances


def heard(samples: Samples) -> list[Span]:
    """The stretches in which a voice sounds, in samples; none if nothing does."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.convolve(np.square(frames, dtype=np.float64).mean(axis=1), np.full(3, 1 / 3), mode="same")
    level = 10 * np.log10(power + 1e-12)
    if not level.size:
        return []
    loud, noise = np.percentile(level, 95), np.percentile(level, 5)
    threshold = loud + min(max(_HEARD_DB, noise + _ABOVE_NOISE_DB - loud), _NEVER_ABOVE_DB)
    edges = np.flatnonzero(np.diff(np.r_[0, (level > threshold).astype(int), 0]))
    spans = [(int(start) * _FRAME, int(end) * _FRAME) for start, end in edges.reshape(-1, 2)]
    joined = bridged(spans)
    return [(start, end) for start, end in joined if end - start >= _CLICK * SAMPLE_RATE]


def bridged(spans: Sequence[Span]) -> list[Span]:
    """Sorted spans, joined where less than a pause lies between them."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < PAUSE * SAMPLE_RATE:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def utterances(samples: Samples, text: str | None, language: str | None, *, cut: bool) -> list[Utterance]:
    """The whole clip as one utterance, or what lies between its pauses; none if nothing is heard."""
    spans = heard(samples)
    if not spans:
        return []
    groups = [[spans[0]]]
    for span in spans[1:]:
        if cut and groups[-1][-1][1] - groups[-1][0][0] >= SHORTEST * SAMPLE_RATE:
            groups.append([span])
        else:
            groups[-1].append(span)
    return [_utterance(samples, group, None if cut else text, language) for group in groups]


def _utterance(samples: Samples, spans: Sequence[Span], text: str | None, language: str | None) -> Utterance:
    """All utterances are equally loud where they are heard."""
    first, last = spans[0][0], spans[-1][1]
    power = np.mean(np.concatenate([np.square(samples[start:end], dtype=np.float64) for start, end in spans]))
    own = (samples[first:last] / np.sqrt(power)).astype(np.float32)
    fade = np.linspace(0, 1, 80, dtype=np.float32)
    own[:80] *= fade
    own[-80:] *= fade[::-1]
    return Utterance(own, tuple((start - first, end - first) for start, end in spans), text, language)


def recorded(manifest: Path, same_voice: Sequence[str], *, cut: bool) -> dict[str, Source]:
    found: dict[str, list[Utterance]] = {}
    for row in json.loads(manifest.read_text(encoding="utf-8")):
        speaker = row.get("speaker") or row["language"]
        if speaker in same_voice:
            speaker = same_voice[0]
        samples = read_samples(manifest.parent / row["audio"])
        found.setdefault(speaker, []).extend(utterances(samples, row.get("text"), row.get("language"), cut=cut))

    def source(own: list[Utterance]) -> Source:
        return lambda rng: (own[int(place)] for place in rng.permutation(len(own)))

    return {speaker: source(own) for speaker, own in found.items() if own}


def synthetic() -> dict[str, Source]:
    def source(voice: str, pitch: int) -> Source:
        def draw(rng: np.random.Generator) -> Iterator[Utterance]:
            rate = int(rng.integers(140, 190))
            while True:
                text = sentence(rng, held_out=False)["en"]
                yield from utterances(speak(text, voice, words_per_minute=rate, pitch=pitch), text, "en", cut=False)

        return draw

    return {voice.replace("+", "-"): source(voice, pitch) for voice, pitch in _SYNTHETIC}


# Dialogues


def queues(
    sources: Mapping[str, Source], count: int, seconds: float, rng: np.random.Generator
) -> dict[str, list[Utterance]]:
    """What each of so many people says: so many seconds together, if there are as many."""
    speakers = [sorted(sources)[int(place)] for place in rng.permutation(len(sources))[:count]]
    shares = rng.dirichlet(np.full(count, 4.0))
    chosen: dict[str, list[Utterance]] = {}
    for speaker, share in zip(speakers, shares, strict=True):
        length, mine = 0.0, []
        for utterance in sources[speaker](rng):
            mine.append(utterance)
            length += utterance.seconds
            if length >= share * seconds:
                break
        chosen[speaker] = mine
    return chosen


def arranged(chosen: Mapping[str, list[Utterance]], overlap: float, rng: np.random.Generator) -> list[Placed]:
    """Turns of one to three utterances, until all is said. `overlap` is the share of speech that begins too early."""
    left = {speaker: list(own) for speaker, own in chosen.items()}
    own_end = dict.fromkeys(left, 0)
    placed: list[Placed] = []
    speaker, begin, end, said, doubled = "", 0, 0, 0, 0
    while any(left.values()):
        others = [each for each in left if left[each] and each != speaker] or [speaker]
        weights = np.array([sum(each.seconds for each in left[other]) for other in others])
        speaker = others[int(rng.choice(len(others), p=weights / weights.sum()))]
        start = end + round(_pause(rng) * SAMPLE_RATE)
        if placed and doubled < overlap * said:
            start = end - round(rng.uniform(0.2, 2.5) * SAMPLE_RATE)
        start = max(start, own_end[speaker] + round(0.3 * SAMPLE_RATE), begin + round(0.3 * SAMPLE_RATE))
        begin, place = start, start
        for _ in range(int(rng.integers(1, 4))):
            if left[speaker]:
                placed.append(Placed(place, speaker, left[speaker].pop(0)))
                said += len(placed[-1].utterance.samples)
                own_end[speaker] = placed[-1].end
                place = placed[-1].end + round(rng.uniform(0.1, 0.9) * SAMPLE_RATE)
        doubled += max(0, min(end, own_end[speaker]) - start)
        end = max(end, own_end[speaker])
    return placed


def _pause(rng: np.random.Generator) -> float:
    return min(max(rng.lognormal(np.log(0.45), 0.8), 0.08), 4.0)


def mixed(placed: Sequence[Placed], rng: np.random.Generator) -> tuple[Samples, dict[str, Any]]:
    """The sound, and what is said of it in the manifest: people at different distances, perhaps noise and a room."""
    speakers = sorted({each.speaker for each in placed})
    level = {speaker: rng.uniform(-4, 4) for speaker in speakers}
    size = max(each.end for each in placed) + round(rng.uniform(0.3, 1.5) * SAMPLE_RATE)
    reverberation = round(float(rng.uniform(0.2, 0.5)), 2) if rng.random() < 1 / 3 else None
    total = np.zeros(size, np.float32)
    for speaker in speakers:
        voice = np.zeros(size, np.float32)
        for each in placed:
            if each.speaker == speaker:
                gain = _LEVEL * 10 ** ((level[speaker] + rng.uniform(-1, 1)) / 20)
                voice[each.start : each.end] += gain * each.utterance.samples
        total += in_room(voice, reverberation, rng) if reverberation else voice
    signal_to_noise = round(float(rng.uniform(20, 35)), 1) if rng.random() < 1 / 2 else None
    if signal_to_noise:
        total += _LEVEL * 10 ** (-signal_to_noise / 20) * coloured_noise(size, rng)
    total *= min(1.0, 0.95 / np.abs(total).max())
    about = {"noise_db": signal_to_noise, "reverberation_s": reverberation}
    return total, about | {"levels_db": {speaker: round(float(db), 1) for speaker, db in level.items()}}


def in_room(samples: Samples, reverberation: float, rng: np.random.Generator) -> Samples:
    """With an echo of decaying noise, 60 dB softer after `reverberation` seconds and 5 to 12 dB below the voice."""
    times = np.arange(round(reverberation * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / reverberation)
    tail *= 10 ** (-rng.uniform(5, 12) / 20) / np.sqrt(np.square(tail).sum())
    tail[: round(0.002 * SAMPLE_RATE)] = 0
    tail[0] = 1
    length = len(samples) + len(tail)
    echoed = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(tail, length), length)
    return echoed[: len(samples)].astype(np.float32)


# Files


def turns(placed: Sequence[Placed]) -> list[tuple[str, Span]]:
    """Who is heard from which sample to which, in order."""
    found = []
    for speaker in {each.speaker for each in placed}:
        spans = [(each.start + start, each.start + end) for each in placed if each.speaker == speaker
                 for start, end in each.utterance.heard]  # fmt: skip
        found += [(speaker, span) for span in bridged(sorted(spans))]
    return sorted(found, key=lambda turn: (turn[1], turn[0]))


def doubled_share(found: Sequence[tuple[str, Span]]) -> float:
    """The share of speech time in which two or more speak."""
    events = sorted((place, change) for _, (start, end) in found for place, change in ((start, 1), (end, -1)))
    one = two = active = 0
    for (place, change), (after, _) in itertools.pairwise(events):
        active += change
        one += (after - place) * (active > 0)
        two += (after - place) * (active > 1)
    return two / one


def rttm(name: str, found: Sequence[tuple[str, Span]]) -> str:
    lines = []
    for speaker, (start, end) in found:
        times = f"{start / SAMPLE_RATE:.3f} {(end - start) / SAMPLE_RATE:.3f}"
        lines.append(f"SPEAKER {name} 1 {times} <NA> <NA> {speaker} <NA> <NA>\n")
    return "".join(lines)


def texts(placed: Sequence[Placed]) -> dict[str, Any]:
    """The manifest's segments, texts by speaker, and the language, if there are texts and one language."""
    in_order = sorted(placed, key=lambda each: each.start)
    languages = {each.utterance.language for each in placed}
    found: dict[str, Any] = {"language": languages.pop()} if len(languages) == 1 and None not in languages else {}
    if any(each.utterance.text is None for each in placed):
        return found
    found["segments"] = [
        {
            "start": round(each.start / SAMPLE_RATE, 3),
            "end": round(each.end / SAMPLE_RATE, 3),
            "speaker": each.speaker,
            "text": each.utterance.text,
        }
        for each in in_order
    ]
    by_speaker: dict[str, list[str]] = {}
    for each in in_order:
        by_speaker.setdefault(each.speaker, []).append(str(each.utterance.text))
    return found | {"texts": {speaker: " ".join(said) for speaker, said in by_speaker.items()}}


def write_dialogue(
    folder: Path, number: int, sources: Mapping[str, Source], args: argparse.Namespace
) -> dict[str, Any]:
    """Write the sound and the RTTM; the line of the manifest."""
    rng = np.random.default_rng([args.seed, number])
    low, high = args.speakers
    # Of 60 to 240 s of dialogue, about nine tenths are speech.
    seconds, overlap = rng.uniform(*args.seconds) * 0.9, rng.uniform(0, args.overlap)
    placed = arranged(queues(sources, low + number % (high - low + 1), seconds, rng), overlap, rng)
    sound, about = mixed(placed, rng)
    found, name = turns(placed), f"{number:02d}"
    write_wav(folder / f"{name}.wav", sound)
    (folder / f"{name}.rttm").write_text(rttm(name, found), encoding="utf-8")
    return {
        "audio": f"{name}.wav",
        "rttm": f"{name}.rttm",
        "condition": args.condition or folder.name,
        "num_speakers": len({speaker for speaker, _ in found}),
        "duration": round(len(sound) / SAMPLE_RATE, 3),
        "overlap": round(doubled_share(found), 4),
        **about,
        **texts(placed),
    }


def numbers(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    voices = parser.add_mutually_exclusive_group(required=True)
    voices.add_argument("--clips", type=Path, metavar="MANIFEST")
    voices.add_argument("--synthetic", action="store_true", help="voices of espeak-ng")
    parser.add_argument("--same-voice", default="", metavar="LANGUAGES", help="languages that one person speaks")
    parser.add_argument("--cut", action="store_true", help="cut clips at pauses")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--speakers", type=numbers, default=(2, 4), metavar="LOW-HIGH")
    parser.add_argument("--seconds", type=numbers, default=(60, 240), metavar="LOW-HIGH", help="of a dialogue, about")
    parser.add_argument("--overlap", type=float, default=0.2, help="largest share of speech that overlaps, about")
    parser.add_argument("--condition", help="name in the manifest; that of the folder by default")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sources = synthetic() if args.synthetic else recorded(args.clips, args.same_voice.split(","), cut=args.cut)
    if len(sources) < args.speakers[1]:
        parser.error(f"{args.clips or 'espeak-ng'} has only {len(sources)} speakers")
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = [write_dialogue(args.folder, number, sources, args) for number in range(args.count)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (args.folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    minutes = sum(row["duration"] for row in rows) / 60
    print(f"{args.folder}: {len(rows)} dialogues, {minutes:.1f} minutes, {len(sources)} voices")


if __name__ == "__main__":
    main()
