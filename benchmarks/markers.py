"""Is anything lost where windows join? A marker word is spoken every few seconds, alone and joined into one recording.

    PYTHONPATH=tests python benchmarks/markers.py [--model base] [--every 5] [--pauses] [--json FILE]

Each marker is a sentence with a noun that occurs in no other one, read by espeak-ng in turns of several voices. Joined,
the sentences follow each other without a gap, filled up with words to --every seconds so that there is hardly a
pause to cut in; with --pauses they are filled up with silence. Sentences are
counted by their beginning, and nouns, some of which the model misunderstands in such a voice, by themselves.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from speech import SAMPLE_RATE, speak

from mtasr.transcribe import load_model

NOUNS = """
apple arrow baker banana basket battery beach blanket bottle bread bridge bucket butter button camel camera candle
carpet castle chair cherry chicken circle clock coffee copper cotton cousin cradle curtain daisy dinner doctor dollar
dragon drawer dream eagle elbow engine feather finger flower forest fountain garden garlic giant glove guitar hammer
harbor helmet honey hotel island jacket jungle kettle kitchen ladder lemon letter lion lizard machine market medal
mirror monkey mother motor mountain museum needle ocean onion orange palace paper parrot pencil pepper piano pillow
planet pocket potato prison puppet rabbit radio river rocket saddle sailor salad shadow shoulder silver spider sugar
summer table teacher temple thunder ticket tiger tomato tower tractor train turtle umbrella valley village violin wagon
water whistle window winter wizard yellow zebra
""".split()  # noqa: SIM905
VOICES = ("en-us", "en-us+f2", "en-us+f3", "en-us+m3")
BEGINNING = "Here we can see"
#: Said after the marker until its time is full.
FILLER = "and after that we went on walking along the old road to the next place on our list".split()  # noqa: SIM905


def marker(number: int, seconds: float, *, pauses: bool) -> npt.NDArray[np.float32]:
    """The sentence of a marker, of just so many seconds."""
    voice, begins = VOICES[number % len(VOICES)], f"{BEGINNING} the {NOUNS[number]}"
    length = round(seconds * SAMPLE_RATE)
    samples = speak(f"{begins}.", voice)
    if not pauses:
        for words in range(1, len(FILLER) + 1):
            longer = speak(f"{begins}, {' '.join(FILLER[:words])}.", voice)
            if len(longer) > length:
                break
            samples = longer
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def has(text: str, noun: str) -> bool:
    return noun in re.findall(r"[a-z]+", text.lower())


def count(text: str) -> int:
    """How many of the sentences are there, whatever became of their nouns."""
    return text.lower().count(BEGINNING.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--pauses", action="store_true")
    parser.add_argument("--json", type=Path, help="write both texts here")
    args = parser.parse_args()
    clips = [marker(number, args.every, pauses=args.pauses) for number in range(len(NOUNS))]
    model = load_model(args.model)
    with model.stream_all(clips, language="en") as streams:
        alone = [stream.transcript().text for stream in streams]
    joined = model.transcribe(np.concatenate(clips), language="en").text
    found = [noun for noun, text in zip(NOUNS, alone, strict=True) if has(text, noun)]
    again = [noun for noun in NOUNS if has(joined, noun)]
    print(f"{len(NOUNS)} markers in {len(NOUNS) * args.every / 60:.1f} minutes")
    print(f"sentences: {count(' '.join(alone))} alone, {count(joined)} joined")
    print(f"nouns: {len(found)} alone, {len(again)} joined ({len(again) / len(found):.1%})")
    print(f"alone only: {', '.join(sorted({*found} - {*again})) or 'none'}")
    print(f"joined only: {', '.join(sorted({*again} - {*found})) or 'none'}")
    if args.json:
        args.json.write_text(json.dumps({"alone": alone, "joined": joined}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
