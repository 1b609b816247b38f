"""Words wrong, seconds filled and times off where the timestamps of a recording are not those of its sound.

    PYTHONPATH=tests python benchmarks/timestamps.py --clips MANIFEST [--model base] [--limit N] [--only NAME,...]

Each recording of the manifest is stored as FLV (AAC at 128 kbit/s), whose tags then get other timestamps: wandering by
up to so many milliseconds, as those of the wall's clock do; late in bursts every few seconds; of a clock that is 1 or
3 % fast or slow; with holes of 2 s every minute, in which the sound goes on; starting again every minute. What is drawn
follows from --seed. The first line is the FLV as it was. "Off" is how far the middle of each second of sound is from
where the timestamps place it, without what was started again.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sound
from containers import encoded, retimed
from speed import say, table

from mtasr.audio.read import open_audio
from mtasr.evaluation import read_manifest
from mtasr.evaluation.run import evaluate
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import load_model
from mtasr.transcript import Repair

#: From a time in seconds to a timestamp; drawn anew for each recording.
Clock = Callable[[float], float]


def wandering(most: float) -> Callable[[np.random.Generator], Clock]:
    """Each packet is late by up to `most` seconds, and none comes before the one before it."""

    def made(rng: np.random.Generator) -> Clock:
        last = 0.0

        def clock(time: float) -> float:
            nonlocal last
            last = max(last, time + rng.uniform(0, most))
            return last

        return clock

    return made


CLOCKS: dict[str, Callable[[np.random.Generator], Clock]] = {
    "as it was": lambda rng: lambda time: time,
    **{f"{most} ms": wandering(most / 1000) for most in (20, 60, 100, 200, 500)},
    "bursts of 300 ms": lambda rng: lambda time: time + max(0.0, 0.3 - (time + 2) % 4),
    **{f"{share:+} %": lambda rng, share=share: lambda time: time * (1 + share / 100) for share in (-3, -1, 1, 3)},
    "holes of 2 s": lambda rng: lambda time: time + 2 * (time // 60),
    "starting again": lambda rng: lambda time: time % 60,
}


@dataclass(frozen=True)
class Heard:
    """What became of the sound of one recording."""

    seconds: float
    repairs: tuple[Repair, ...]
    #: Seconds, of each second of sound.
    off: tuple[float, ...]


def hear(path: Path, original: np.ndarray, clock: Clock) -> Heard:
    with open_audio(path) as stream:
        samples = np.concatenate(list(stream))
    return Heard(len(samples) / SAMPLE_RATE, stream.repairs, tuple(_off(samples, original, clock)))


def _off(samples: np.ndarray, original: np.ndarray, clock: Clock) -> Iterator[float]:
    """Where a quarter of a second from the middle of each second is found again, within a second and a half."""
    length, reach = SAMPLE_RATE // 4, SAMPLE_RATE * 3 // 2
    for second in range(len(original) // SAMPLE_RATE):
        start = second * SAMPLE_RATE + SAMPLE_RATE // 2
        piece, expected = original[start : start + length], round(clock(start / SAMPLE_RATE) * SAMPLE_RATE)
        low = max(0, expected - reach)
        around = samples[low : expected + reach + length]
        if len(around) <= len(piece) or np.sqrt(np.mean(piece**2)) < 0.01:
            continue
        size = 1 << (len(around) + len(piece)).bit_length()
        likeness = np.fft.irfft(np.fft.rfft(around, size) * np.conj(np.fft.rfft(piece, size)), size)
        power = np.convolve(around**2, np.ones(length), "valid")
        likeness = likeness[: len(power)] / np.sqrt(np.maximum(power, 1e-3 * power.max()))
        yield abs(low + int(likeness.argmax()) - expected) / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="MANIFEST")
    parser.add_argument("--model", default="base")
    parser.add_argument("--limit", type=int, help="recordings of the manifest")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CLOCKS), metavar="NAME,...")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    clips = read_manifest(args.clips)[: args.limit]
    model, rows = load_model(args.model, device="cpu"), []
    with tempfile.TemporaryDirectory() as name:
        originals = [sound.read(clip.audio) for clip in clips]
        whole = [
            encoded(Path(name, f"{number}.flv"), samples, "-c:a", "aac", "-b:a", "128k", "-ar", "44100").read_bytes()
            for number, samples in enumerate(originals)
        ]
        for kind in args.only:
            heard, moved = [], []
            for number, (clip, samples, content) in enumerate(zip(clips, originals, whole, strict=True)):
                path = Path(name, f"{number}.moved.flv")
                path.write_bytes(retimed(content, CLOCKS[kind](np.random.default_rng([args.seed, number]))))
                # Of a clock that wanders, the sound belongs where it would be without.
                clock = (lambda time: time) if kind.endswith(" ms") else CLOCKS[kind](np.random.default_rng())
                heard.append(hear(path, samples, clock))
                moved.append(replace(clip, audio=path))
            rows.append(_row(kind, heard, evaluate(model, moved, DecodingOptions(), ["transcription"]).total.wer))
            say(" | ".join(rows[-1]))
    print(
        "\n".join(
            table(("Timestamps", "WER %", "Seconds", "Silence put in, s", "Stretched, s", "Off: median, 95 %, s"), rows)
        )
    )


def _row(kind: str, heard: list[Heard], wer: object) -> list[str]:
    repairs = [repair for each in heard for repair in each.repairs]
    seconds = {kind: sum(each.seconds for each in repairs if each.kind == kind) for kind in ("hole", "drift")}
    off = [value for each in heard for value in each.off]
    times = "-" if kind == "starting again" or not off else f"{np.median(off):.2f}, {np.quantile(off, 0.95):.2f}"
    rate = getattr(wer, "value", math.nan)
    return [kind, f"{100 * rate:.2f}", f"{sum(each.seconds for each in heard):.1f}", f"{seconds['hole']:.1f}",
            f"{seconds['drift']:+.1f}", times]  # fmt: skip


if __name__ == "__main__":
    main()
