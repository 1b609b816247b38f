"""How well are the voices understood, and what does speaking cost?

    OMP_NUM_THREADS=1 python benchmarks/speaking.py [--voice NAME]...

Each voice reads 20 sentences of our own, on one thread; Whisper `base` writes down what it hears. Words are compared
after numbers became words. Costs are processor seconds per second of speech, of the median sentence.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from parity import edits, words
from speed import machine, table

from mtasr import load_model, load_voice
from mtasr.speech.files import save_speech
from mtasr.speech.phonemes.spoken_text import spoken_text
from mtasr.speech.voice import voice_names

SENTENCES = (
    "The ferry to the islands leaves at half past nine.",
    "Our neighbour keeps bees behind the old brick wall.",
    "She asked whether the museum was still open on Sunday.",
    "Nobody had expected so much snow in the middle of April.",
    "The committee will publish its report before the summer.",
    "He repaired the bicycle with a piece of wire and some patience.",
    "In 1969 the village had 320 inhabitants and a single telephone.",
    "The price rose by 4.5 percent, to 12 euros a kilo.",
    "Please send the signed forms to the office in Geneva.",
    "Two engineers crossed the bridge to measure the cracks.",
    "The orchestra rehearsed the same passage for an hour.",
    "A cup of strong coffee would do me good now.",
    "Farmers in the valley worry about the long drought.",
    "The witness described a grey car with a broken window.",
    "My grandmother taught me how to bake this bread.",
    "The patient was discharged after a week in hospital.",
    "They discovered the manuscript in a library in Krakow.",
    "Turn left at the church, and follow the river upstream.",
    "The children laughed when the parrot imitated the doorbell.",
    "It is easier to promise something than to keep one's word.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", action="append", metavar="NAME", help="by default, each of the voices")
    args = parser.parse_args()
    model = load_model("base")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.voice or voice_names():
            voice = load_voice(name, threads=1)
            wrong = count = 0
            costs, seconds = [], 0.0
            for sentence in SENTENCES:
                before = os.times()
                target = Path(folder, "speech.wav")
                speech = save_speech(voice, sentence, target)
                after = os.times()
                costs.append((after.user + after.system - before.user - before.system) / speech.seconds)
                seconds += speech.seconds
                said = words(spoken_text(sentence))
                wrong += edits(said, words(spoken_text(model.transcribe(target, language="en").text)))
                count += len(said)
            rows.append([name, f"{wrong / count:.1%}", str(count), f"{seconds:.0f}", f"{np.median(costs):.2f}"])
    print(machine("cpu"))
    print("\n".join(table(("Voice", "Word errors", "Words", "Seconds", "Processor seconds per second"), rows)))


if __name__ == "__main__":
    main()
