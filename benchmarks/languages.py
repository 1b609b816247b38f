"""How often the language is right: of whole recordings, and where it changes within one.

    python benchmarks/languages.py --clips MANIFEST [--per-language N] [--languages en,es,fr,it,ru] [--json FILE]

A manifest is that of speed.py. Everything is asked of the command line as a user would ask it, without and with
`--languages`: `mtasr detect-language` for the recordings of the manifest, and `mtasr transcribe --multilingual` for
files joined from recordings in three languages, --turn of them in a row, with pauses of 0.3 to 1.5 s. What is drawn
follows from --seed.

Of the joined files the figure is the share of the time from the first to the last speech of each recording (voice
activity of the recording alone) that lies in a segment of its language, in one of another language, or in none.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sound
from speed import Clip, machine, read_clips, table

from mtasr.spans import SAMPLE_RATE

#: Languages in a joined file.
MIXED = 3
PAUSES = (0.3, 1.5)


@dataclass(frozen=True)
class Part:
    """A recording within a joined file; seconds in which it speaks."""

    audio: Path
    language: str
    start: float
    end: float


def detected(args: argparse.Namespace, clips: dict[str, list[Clip]], among: str | None) -> list[dict[str, Any]]:
    """What `detect-language` says of each recording."""
    found = []
    for language, those in clips.items():
        files = [str(clip.audio) for clip in those]
        lines = asked(args, ["detect-language", "--top", "1", *hint(among), *files])
        for clip, line in zip(those, lines.splitlines(), strict=True):
            _, code, _, probability = line.split("\t")
            found.append({"audio": str(clip.audio), "language": language, "found": code, "sure": float(probability)})
    return found


def joined(args: argparse.Namespace, clips: dict[str, list[Clip]], folder: Path) -> dict[Path, list[Part]]:
    """Files of several languages, and what is where in them."""
    rng = np.random.default_rng(args.seed)
    made = {}
    for number in range(args.files):
        languages = rng.permutation(sorted(clips))[:MIXED]
        turns = [(code, rng.choice(len(clips[code]), args.turn, replace=False)) for code in languages]
        parts, pieces, length = [], [], 0
        for clip in [clips[code][index] for code, chosen in turns for index in chosen]:
            samples = sound.read(clip.audio)
            spans = sound.speech(samples)
            start, end = length + spans[0].start, length + spans[-1].end
            parts.append(Part(clip.audio, clip.language, start / SAMPLE_RATE, end / SAMPLE_RATE))
            pause = np.zeros(round(rng.uniform(*PAUSES) * SAMPLE_RATE), np.float32)
            pieces += [samples, pause]
            length += len(samples) + len(pause)
        path = folder / f"joined-{number:02d}.wav"
        sound.write(path, np.concatenate(pieces))
        made[path] = parts
    return made


def followed(args: argparse.Namespace, files: dict[Path, list[Part]], among: str | None) -> list[dict[str, Any]]:
    """Seconds of each part in segments of each language."""
    with tempfile.TemporaryDirectory() as out:
        options = ["--multilingual", "--output-format", "json", "--output-dir", out, *hint(among)]
        asked(args, ["transcribe", *options, *map(str, files)])
        found = []
        for path, parts in files.items():
            segments = json.loads((Path(out) / f"{path.stem}.json").read_text("utf-8"))["segments"]
            for part in parts:
                seconds: Counter[str] = Counter()
                for each in segments:
                    common = min(each["end"], part.end) - max(each["start"], part.start)
                    seconds[each["language"]] += max(0.0, common)
                found.append(
                    {
                        "file": path.name,
                        "audio": str(part.audio),
                        "language": part.language,
                        "start": part.start,
                        "end": part.end,
                        "found": {code: time for code, time in seconds.items() if time > 0},
                    }
                )
    return found


def hint(among: str | None) -> list[str]:
    return ["--languages", among] if among else []


def asked(args: argparse.Namespace, what: Sequence[str]) -> str:
    """Standard output of mtasr."""
    command = [*shlex.split(args.mtasr), what[0], "--quiet", "--model", args.model, *what[1:]]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout


def accuracy_rows(results: dict[str, list[dict[str, Any]]]) -> Iterator[list[str]]:
    for name, found in results.items():
        right: defaultdict[str, list[bool]] = defaultdict(list)
        for each in found:
            right[each["language"]].append(each["language"] == each["found"])
        everything = [value for values in right.values() for value in values]
        yield [name, *(f"{sum(values)} of {len(values)}" for values in (*right.values(), everything)), percent(
            sum(everything), len(everything)
        )]  # fmt: skip


def share_rows(results: dict[str, list[dict[str, Any]]]) -> Iterator[list[str]]:
    for name, found in results.items():
        total = sum(each["end"] - each["start"] for each in found)
        right = sum(each["found"].get(each["language"], 0.0) for each in found)
        any_language = sum(sum(each["found"].values()) for each in found)
        yield [name, *(percent(part, total) for part in (right, any_language - right, total - any_language))]


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def report(document: dict[str, Any]) -> Iterator[str]:
    codes = list(dict.fromkeys(each["language"] for each in next(iter(document["detected"].values()))))
    yield f"Machine: {document['machine']}. mtasr {document['version']}, model {document['model']}."
    yield ""
    yield from table(["Right", *codes, "all", ""], list(accuracy_rows(document["detected"])))
    yield ""
    for name, found in document["detected"].items():
        for each in found:
            if each["language"] != each["found"]:
                yield f"{name}: {Path(each['audio']).name} taken for {each['found']}, {each['sure']:.2f}"
    yield ""
    yield from table(["Speech time", "right", "wrong", "no segment"], list(share_rows(document["followed"])))
    yield ""
    for name, found in document["followed"].items():
        for each in found:
            others = {code: round(time, 1) for code, time in each["found"].items() if code != each["language"]}
            if others:
                place = f"{each['start']:.1f}-{each['end']:.1f}"
                yield f"{name}: {each['file']} {place} {Path(each['audio']).name} in part taken for {others}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", type=Path, required=True, metavar="MANIFEST")
    parser.add_argument("--per-language", type=int, help="take only so many clips of each language")
    parser.add_argument("--languages", help="the hint; all languages of the manifest by default")
    parser.add_argument("--files", type=int, default=20, help="how many are joined")
    parser.add_argument("--turn", type=int, default=2, help="recordings of a language in a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="base")
    parser.add_argument("--mtasr", default=f"{shlex.quote(sys.executable)} -m mtasr", help="the command")
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    clips = read_clips(args.clips, args.per_language)
    if len(clips) < MIXED or any(len(those) < args.turn for those in clips.values()):
        raise SystemExit(f"three languages are needed, with {args.turn} recordings each")
    codes = args.languages or ",".join(clips)
    hints = {"no hint": None, f"--languages {codes}": codes}
    document = {
        "machine": machine("cpu"),
        "model": args.model,
        "version": subprocess.run(
            [*shlex.split(args.mtasr), "--version"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()[-1],
        "detected": {name: detected(args, clips, among) for name, among in hints.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        files = joined(args, clips, Path(folder))
        document["followed"] = {name: followed(args, files, among) for name, among in hints.items()}
    print(*report(document), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
