"""How far word times are from known ones: of fluent speech, or of where sentences begin and end.

    python benchmarks/word_times.py --clips MANIFEST [--model base] [--json FILE]
    PEERS/bin/python benchmarks/word_times.py --clips MANIFEST --system faster-whisper --model FOLDER

MANIFEST is a JSON list of {"audio": FILE, "language": "en", "segments": [{"start": S, "end": S, "text": TEXT}, ...]}.
`fluent_speech.py` writes one whose segments are single words. Of each segment the start of its first word and the end
of its last word are looked for among the words recognised, which are aligned with the references by edit distance; what
was recognised otherwise has no time. Languages without spaces are aligned by characters, which share the time of their
word evenly. Prints for each language the median and the 90th percentile of the differences of starts and of ends in
seconds, and the share of segment edges that was found.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: (text, start, end)
Timed = tuple[str, float, float]


UNSPACED = ("ja", "th", "yue", "zh")


def plain(text: str, language: str) -> list[str]:
    """Words without case, marks and diacritics; characters in languages without spaces."""
    if language in UNSPACED:
        return [char for char in unicodedata.normalize("NFKC", text) if char.isalnum()]
    letters = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(char for char in letters if not unicodedata.combining(char)))


def timed_plain(words: list[Timed], language: str) -> Iterator[Timed]:
    for text, start, end in words:
        pieces = plain(text, language)
        each = (end - start) / len(pieces) if pieces and language in UNSPACED else 0.0
        for index, piece in enumerate(pieces):
            yield piece, start + each * index, start + each * (index + 1) if each else end


def same_places(wanted: list[str], found: list[str]) -> dict[int, int]:
    """Where each piece was found, with the fewest pieces replaced, missing and added."""
    costs = [list(range(len(found) + 1))]
    for row, piece in enumerate(wanted, start=1):
        above, costs_here = costs[-1], [row]
        for column, other in enumerate(found, start=1):
            costs_here.append(min(above[column - 1] + (piece != other), above[column] + 1, costs_here[-1] + 1))
        costs.append(costs_here)
    same: dict[int, int] = {}
    row, column = len(wanted), len(found)
    while row and column:
        replaced = wanted[row - 1] != found[column - 1]
        if costs[row][column] == costs[row - 1][column - 1] + replaced:
            row, column = row - 1, column - 1
            if not replaced:
                same[row] = column
        elif costs[row][column] == costs[row - 1][column] + 1:
            row -= 1
        else:
            column -= 1
    return same


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


class Differences(NamedTuple):
    """How far edges are from where they were found, in seconds, and how many there are."""

    starts: list[float]
    ends: list[float]
    edges: int

    def __add__(self, other: Differences) -> Differences:  # type: ignore[override]
        return Differences(self.starts + other.starts, self.ends + other.ends, self.edges + other.edges)

    def figures(self) -> dict[str, float]:
        found = {"found": round((len(self.starts) + len(self.ends)) / self.edges, 3)}
        for name, values in (("starts", self.starts), ("ends", self.ends), ("both", self.starts + self.ends)):
            found[f"{name} median"] = round(float(np.median(values)), 3)
            found[f"{name} p90"] = round(float(np.quantile(values, 0.9)), 3)
        return found


def differences(row: dict[str, Any], found: list[Timed]) -> Differences:
    """Those of one recording."""
    language = row["language"]
    heard = list(timed_plain(found, language))
    wanted: list[str] = []
    edges: list[tuple[int, int, float]] = []  # (index of the piece, 1 for its start and 2 for its end, time)
    for segment in row["segments"]:
        if pieces := plain(segment["text"], language):
            edges.append((len(wanted), 1, segment["start"]))
            wanted += pieces
            edges.append((len(wanted) - 1, 2, segment["end"]))
    same = same_places(wanted, [piece for piece, _, _ in heard])
    apart = [(which, abs(heard[same[index]][which] - time)) for index, which, time in edges if index in same]
    return Differences(
        [each for which, each in apart if which == 1], [each for which, each in apart if which == 2], len(edges)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--system", choices=SYSTEMS, default="mtasr")
    parser.add_argument("--model", default="base")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    words = SYSTEMS[arguments.system](arguments.model)
    totals: dict[str, Differences] = {}
    for row in json.loads(arguments.clips.read_text(encoding="utf-8")):
        path, language = arguments.clips.parent / row["audio"], row["language"]
        apart = differences(row, list(words(path, language)))
        for name in (language, "all"):
            totals[name] = totals.get(name, Differences([], [], 0)) + apart
    result = {name: total.figures() for name, total in totals.items()}
    for name, figures in result.items():
        print(name, json.dumps(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({"system": arguments.system, **result}), encoding="utf-8")


if __name__ == "__main__":
    main()
