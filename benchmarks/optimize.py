"""What does `mtasr models optimize` gain, and does the text stay the same?

    mtasr models optimize base base-en-fr --languages en,fr
    python benchmarks/optimize.py --clips MANIFEST --optimized base-en-fr [--model base] [--per-language 10]

MANIFEST is a JSON list of objects with "audio" (beside the manifest) and "language"; clips in other languages than
those of the optimized model are left out. Each clip, up to 28 s and 2 s of silence after it, is decoded at temperature
0 by both models in turns, greedily and with a beam of 5, alone and in batches of 8 clips of like length. Only the
decoder's time counts: the clips are encoded before, by the source for itself and by the copy for itself.

Every batch is decoded --rounds times, the order of the models changing from one to the next; its time is the median.
The ratio is that of the sums over all batches; beside it stands the median of the batches' own ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np

from mtasr.audio.read import open_audio
from mtasr.checkpoints.ctranslate2.documents import optimized_for
from mtasr.features import HOP_LENGTH, log_mel
from mtasr.models import DEFAULT_MODEL, resolve
from mtasr.spans import SAMPLE_RATE
from mtasr.tokenizer import Tokenizer

BEAMS = {"greedy": 1, "beam 5": 5}
BATCHES = (1, 8)
LONGEST, SILENCE = 28 * SAMPLE_RATE, 2 * SAMPLE_RATE


@dataclass(frozen=True)
class Clip:
    name: str
    language: str
    samples: np.ndarray


class Side:
    """One of the two models."""

    def __init__(self, folder: Path, compute_type: str, threads: int) -> None:
        self.tokenizer = Tokenizer.from_folder(folder)
        self.model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type=compute_type, intra_threads=threads
        )

    def encode(self, clips: Sequence[Clip]) -> ctranslate2.StorageView:
        """Clips of a batch are padded to the longest, and to a number of frames that is even."""
        size = max(len(clip.samples) for clip in clips) + SILENCE
        size += -size % (2 * HOP_LENGTH)
        features = [log_mel(np.pad(clip.samples, (0, size - len(clip.samples))), self.model.n_mels) for clip in clips]
        return self.model.encode(ctranslate2.StorageView.from_array(np.stack(features)))

    def decode(
        self, encoded: ctranslate2.StorageView, clips: Sequence[Clip], beam_size: int
    ) -> tuple[list[str], int, float]:
        """Texts, tokens written and seconds."""
        prompts = [list(self.tokenizer.sot_sequence(clip.language, "transcribe")) for clip in clips]
        start = time.perf_counter()
        results = self.model.generate(
            encoded, prompts, beam_size=beam_size, suppress_tokens=[-1, *self.tokenizer.never_text]
        )
        seconds = time.perf_counter() - start
        found = [result.sequences_ids[0] for result in results]
        return [self.tokenizer.decode_with_timestamps(tokens) for tokens in found], sum(map(len, found)), seconds


def read_clips(manifest: Path, languages: Sequence[str], per_language: int | None) -> Iterator[Clip]:
    taken = dict.fromkeys(languages, 0)
    for row in json.loads(manifest.read_text(encoding="utf-8")):
        language = row["language"]
        if language not in taken or taken[language] == per_language:
            continue
        taken[language] += 1
        with open_audio(manifest.parent / row["audio"]) as audio:
            samples = np.concatenate([np.zeros(0, np.float32), *audio])
        yield Clip(row["audio"], language, samples[:LONGEST])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="MANIFEST")
    parser.add_argument("--optimized", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="what it was made from")
    parser.add_argument("--languages", help="only these, by codes; by default those of the optimized model")
    parser.add_argument("--per-language", type=int, metavar="N", help="take only so many clips of each language")
    parser.add_argument("--compute-type", default="int8_float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    languages = args.languages.split(",") if args.languages else optimized_for(args.optimized)
    clips = sorted(read_clips(args.clips, languages, args.per_language), key=lambda clip: len(clip.samples))
    if not clips:
        sys.exit(f"{args.clips} has no clip in {' '.join(languages) or 'any language of the optimized model'}")
    sides = [Side(folder, args.compute_type, args.threads) for folder in (resolve(args.model), args.optimized)]
    before, after = (side.tokenizer.n_vocab for side in sides)
    print(f"{len(clips)} clips in {' '.join(languages)}; {after} of {before} tokens ({after / before:.0%})")
    for batch in BATCHES:
        groups = [clips[at : at + batch] for at in range(0, len(clips), batch)]
        encoded = [[side.encode(group) for side in sides] for group in groups]
        for search, beam_size in BEAMS.items():
            report(sides, groups, encoded, search, beam_size, args.rounds)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mtasr", "ctranslate2"))
    print(f"{args.model} and {args.optimized}; {versions}; {platform.machine()}, {args.threads} threads")
    return 0


def report(
    sides: Sequence[Side],
    groups: Sequence[Sequence[Clip]],
    encoded: Sequence[Sequence[ctranslate2.StorageView]],
    search: str,
    beam_size: int,
    rounds: int,
) -> None:
    totals, tokens, ratios, changed = [0.0, 0.0], [0, 0], [], []
    for group, views in zip(groups, encoded, strict=True):
        times: list[list[float]] = [[], []]
        texts: list[list[str]] = [[], []]
        counts = [0, 0]
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                texts[which], counts[which], seconds = sides[which].decode(views[which], group, beam_size)
                times[which].append(seconds)
        medians = [statistics.median(each) for each in times]
        ratios.append(medians[0] / medians[1])
        for which in (0, 1):
            totals[which] += medians[which]
            tokens[which] += counts[which]
        changed += [(clip, one, two) for clip, one, two in zip(group, *texts, strict=True) if one != two]
    clips = sum(map(len, groups))
    print(
        f"{search}, batch {max(map(len, groups))}: the same text and times for {clips - len(changed)} of {clips} clips "
        f"({100 * (1 - len(changed) / clips):.1f} %); {totals[0]:.2f} s, now {totals[1]:.2f} s: "
        f"{totals[0] / totals[1]:.2f} times as fast (median of batches {statistics.median(ratios):.2f}); "
        f"{1000 * totals[0] / max(tokens[0], 1):.1f} and {1000 * totals[1] / max(tokens[1], 1):.1f} ms a token"
    )
    for clip, one, two in changed:
        print(f"  {clip.name}: {one!r} is now {two!r}")


if __name__ == "__main__":
    sys.exit(main())
