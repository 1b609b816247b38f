"""How well units tell phones apart, by layer: `python benchmarks/unit_layers.py`.

100 units are learnt from sentences that two synthetic voices read, and compared with the phones of the same sentences
read by a third. Frames in pauses are left out. PNMI is the share of what there is to know of a phone that its unit
tells (Hsu et al. 2021, section 4.3).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from finding import SENTENCES
from speech import speak_phones

from mtasr.encoders import load_encoder
from mtasr.encoders.extract import chosen_layers, whole_states
from mtasr.pretraining.units.kmeans import UnitCentres, fit_centres
from mtasr.unit_measures import unit_quality

LEARN, TEST, UNITS = ["en-us", "en-us+m3"], ["en-us+f4"], 100


def spoken(encoder, voices: list[str], numbers: dict[str, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each sentence the states (L + 1, F, D) and the phone (F,) of each frame, without frames in pauses."""
    found = []
    for voice in voices:
        for text in SENTENCES:
            samples, phones = speak_phones(text, voice)
            states = whole_states(encoder, samples, chosen_layers(encoder, None))
            times = encoder.offset_seconds + encoder.frame_seconds * np.arange(states.shape[1])
            labels = np.full(len(times), -1)
            for phone, start, end in phones:
                labels[(times >= start) & (times < end)] = numbers.setdefault(phone, len(numbers))
            found.append((states[:, labels >= 0], labels[labels >= 0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="base")
    encoder = load_encoder(parser.parse_args().encoder)
    numbers: dict[str, int] = {}
    learn, test = spoken(encoder, LEARN, numbers), spoken(encoder, TEST, numbers)
    print("| Layer | PNMI | Phone purity |\n|---|---|---|")
    for layer in chosen_layers(encoder, None):
        frames = np.concatenate([states[layer] for states, _ in learn])
        centres = UnitCentres(centres=fit_centres(frames, UNITS, starts=2))
        quality = unit_quality((centres.assign(states[layer]), phones) for states, phones in test)
        print(f"| {layer} | {quality.pnmi:.3f} | {quality.phone_purity:.3f} |", flush=True)


if __name__ == "__main__":
    main()
