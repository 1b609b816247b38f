"""How well `mtasr find` finds words of other voices, by layer and threshold: `python benchmarks/finding.py`.

The recordings are sentences of our own that synthetic voices read, four recordings of each voice; the examples are
words that other voices say alone. From half of the words layer and threshold were first chosen ("known"), not from the
others ("new"). A place that overlaps most of the word counts as found, any other as wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from speech import SAMPLE_RATE, speak, speak_words, write_wav

from mtasr.encoders import load_encoder
from mtasr.encoders.extract import chosen_layers, extract_blocks
from mtasr.probing.search import Search, read_example

SENTENCES = """
She walked to the library before the rain began.
The library closes at five on Saturdays.
The computer refused to start this morning.
I bought a new computer for my daughter.
A baby elephant drank from the river.
The elephant slept under a tall tree.
Breakfast is served from seven to ten.
They had breakfast on the balcony.
The telephone rang twice and stopped.
There is no telephone in the cottage.
Take an umbrella, the sky is grey.
His umbrella was left on the train.
A photograph of the harbour hung in the hall.
He took a photograph of every guest.
The kangaroo jumped over the fence.
We saw a kangaroo beside the road.
Her passport was lost at the station.
Please show your passport at the desk.
The carpenter repaired the wooden stairs.
My brother became a carpenter at twenty.
An avalanche blocked the road for a week.
Nobody heard the avalanche at night.
The orchestra played until midnight.
She joined the orchestra last autumn.
Nobody answered when we knocked at the door.
My uncle repairs bicycles and clocks.
""".strip().splitlines()
WORDS = {
    "known": ["library", "computer", "elephant", "breakfast", "telephone", "umbrella"],
    "new": ["photograph", "kangaroo", "passport", "carpenter", "avalanche", "orchestra"],
    "never said": ["dinosaur", "helicopter", "potato", "newspaper", "violin", "submarine", "calendar", "mosquito"],
}
SPEAKERS, ASKERS = ["en-us", "en-us+m3", "en-us+f4"], ["en-us+m6", "en-us+m1", "en-us+m8"]
THRESHOLDS = [0.3, 0.35, 0.4, 0.45]


def recordings() -> dict[str, tuple[np.ndarray, list[tuple[str, float, float]]]]:
    """Name -> sound, and its words with their times."""
    rng = np.random.default_rng(0)
    found = {}
    for voice in SPEAKERS:
        for number, part in enumerate(np.array_split(rng.permutation(len(SENTENCES)), 4)):
            pieces, words, at = [], [], 0.0
            for text in (SENTENCES[index] for index in part):
                sound, spoken = speak_words(text, voice)
                places = [word.place for word in spoken] + [len(text)]
                for word, end in zip(spoken, places[1:], strict=True):
                    letters = "".join(filter(str.isalpha, text[word.place : end].lower()))
                    words.append((letters, at + word.start, at + word.end))
                pieces += [sound, np.zeros(round(0.3 * SAMPLE_RATE), np.float32)]
                at += len(sound) / SAMPLE_RATE + 0.3
            sound = np.concatenate(pieces)
            found[f"{voice}-{number}"] = ((sound + rng.normal(0, 0.001, len(sound))).astype(np.float32), words)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="base")
    encoder = load_encoder(parser.parse_args().encoder)
    spoken = recordings()
    seconds = sum(len(sound) for sound, _ in spoken.values()) / SAMPLE_RATE
    layers = chosen_layers(encoder, None)
    blocks = {name: list(extract_blocks(encoder, [sound], layers)) for name, (sound, _) in spoken.items()}
    print(f"{encoder.name}: {len(spoken)} recordings, {seconds:.0f} s")
    print("| layer | threshold | missed, known | missed, new | never said, but found | wrong places an hour |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for layer in layers:
            report(encoder, layer, spoken, blocks, seconds, Path(folder))


def report(encoder, layer, spoken, blocks, seconds, folder: Path) -> None:
    scores = {kind: [] for kind in WORDS}
    wrong = []
    for kind, words in WORDS.items():
        for word in words:
            for voice in ASKERS:
                write_wav(folder / "example.wav", np.pad(speak(word, voice), SAMPLE_RATE // 2))
                search = Search(encoder, layer, read_example(encoder, layer, str(folder / "example.wav")))
                for name, parts in blocks.items():
                    search.hear(name, (replace(part, states=part.states[layer : layer + 1]) for part in parts))
                places = search.places(THRESHOLDS[0] - 0.1, 1000)
                right, others = judged(word, places, spoken)
                scores[kind] += right if kind != "never said" else [max(others, default=0.0)]
                wrong += others
    examples = sum(map(len, WORDS.values())) * len(ASKERS)
    for threshold in THRESHOLDS:
        missed = [np.mean(np.array(scores[kind]) < threshold) for kind in ("known", "new")]
        found = np.mean(np.array(scores["never said"]) >= threshold)
        rate = np.sum(np.array(wrong) >= threshold) / examples / seconds * 3600
        print(f"| {layer} | {threshold} | {missed[0]:.0%} | {missed[1]:.0%} | {found:.0%} | {rate:.1f} |", flush=True)


def judged(word: str, places, spoken) -> tuple[list[float], list[float]]:
    """The best score of each time that the word is said, 0 if it is not found, and the scores of other places."""
    said = {
        (name, start, end): 0.0 for name, (_, words) in spoken.items() for text, start, end in words if text == word
    }
    others = []
    for place in places:
        hit = [
            each
            for each in said
            if each[0] == place.source
            and min(place.end, each[2]) - max(place.start, each[1]) > 0.4 * (each[2] - each[1])
        ]
        if hit:
            said[hit[0]] = max(said[hit[0]], place.score)
        else:
            others.append(place.score)
    return list(said.values()), others


if __name__ == "__main__":
    main()
