"""How far word times are from where sentences are known to begin and end.

    python benchmarks/word_times.py --clips MANIFEST [--model base] [--json FILE]
    PEERS/bin/python benchmarks/word_times.py --clips MANIFEST --system faster-whisper --model FOLDER

MANIFEST is a JSON list of {"audio": FILE, "language": "en", "segments": [{"start": S, "end": S, "text": TEXT}, ...]}.
Of each segment the start of its first word and the end of its last word are looked for among the words recognised,
aligned with those of the references; what was recognised otherwise has no time. Prints the median and the 90th
percentile of the differences in seconds, and the share that was found.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

#: (text, start, end)
Timed = tuple[str, float, float]


def plain(text: str) -> list[str]:
    """Words without case, marks and diacritics."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(char for char in letters if not unicodedata.combining(char)))


def mtasr(model: str) -> Callable[[Path, str], Iterator[Timed]]:
    from mtasr import load_model

    loaded = load_model(model)

    def words(path: Path, language: str) -> Iterator[Timed]:
        for segment in loaded.transcribe(path, language=language, word_timestamps=True):
            yield from ((word.word, word.start, word.end) for word in segment.words or ())

    return words


def faster_whisper(model: str) -> Callable[[Path, str], Iterator[Timed]]:
    from faster_whisper import WhisperModel

    loaded = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=2)

    def words(path: Path, language: str) -> Iterator[Timed]:
        segments, _ = loaded.transcribe(str(path), language=language, beam_size=5, word_timestamps=True)
        for segment in segments:
            yield from ((word.word, word.start, word.end) for word in segment.words or ())

    return words


SYSTEMS = {"mtasr": mtasr, "faster-whisper": faster_whisper}


def differences(row: dict[str, Any], found: list[Timed]) -> tuple[list[float], int]:
    """The differences of one recording's boundaries, and how many boundaries it has."""
    heard = [(piece, start, end) for text, start, end in found for piece in plain(text)]
    wanted: list[str] = []
    edges: list[tuple[int, int, float]] = []  # (index of the word, 1 for its start and 2 for its end, time)
    for segment in row["segments"]:
        if words := plain(segment["text"]):
            edges.append((len(wanted), 1, segment["start"]))
            wanted += words
            edges.append((len(wanted) - 1, 2, segment["end"]))
    matcher = SequenceMatcher(None, wanted, [piece for piece, _, _ in heard], autojunk=False)
    same = {block.a + i: block.b + i for block in matcher.get_matching_blocks() for i in range(block.size)}
    return [abs(heard[same[index]][which] - time) for index, which, time in edges if index in same], len(edges)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--system", choices=SYSTEMS, default="mtasr")
    parser.add_argument("--model", default="base")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    words = SYSTEMS[arguments.system](arguments.model)
    errors: list[float] = []
    total = 0
    for row in json.loads(arguments.clips.read_text()):
        path = arguments.clips.parent / row["audio"]
        apart, count = differences(row, list(words(path, row["language"])))
        errors += apart
        total += count
    result = {
        "system": arguments.system,
        "median": round(float(np.median(errors)), 3),
        "p90": round(float(np.quantile(errors, 0.9)), 3),
        "found": round(len(errors) / total, 3),
    }
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
