"""How many corrupted transcripts do the filters find, and how many good ones do they drop?

    python benchmarks/weak_labels.py RECORDS --output FOLDER [--model base] [--records 300]

Of some records, drawn evenly, 30 % get a transcript that is wrong in one of five ways: text in another language, that
of another recording in the same language (shifted by some), as machines write it (lower case without marks), written
twice, or cut to its first half. Texts of fewer than --words words stay as they are, since half a word is no transcript.
FOLDER/corrupted.jsonl is what `mtasr finetune` may learn from unfiltered, FOLDER/kept.jsonl what the filters leave.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mtasr.cli.data import filters_for
from mtasr.training.filtering import Report, filtered
from mtasr.training.records import Cue, Record, read_records, write_records

#: A record, another one of its language and one of another language -> the corrupted text.
_WAYS: dict[str, Callable[[str, str, str], str]] = {
    "wrong language": lambda own, same, other: other,
    "shifted": lambda own, same, other: same,
    "machine-made": lambda own, same, other: " ".join(re.findall(r"\w+", own.lower())),
    "duplicated": lambda own, same, other: f"{own} {own}",
    "truncated": lambda own, same, other: " ".join(own.split()[: max(1, len(own.split()) // 2)]),
}


def corrupted(records: Sequence[Record], share: float, least_words: int) -> tuple[list[Record], dict[str, str]]:
    """All records, a share of them with another text; and the way of each of those, by its id."""
    rng = random.Random(0)
    eligible = [record for record in records if len(record.text.split()) >= least_words]
    chosen = rng.sample(eligible, min(len(eligible), round(share * len(records))))
    ways = {record.id: list(_WAYS)[number % len(_WAYS)] for number, record in enumerate(chosen)}
    result = []
    for record in records:
        if record.id in ways:
            same = [each for each in records if each.language == record.language and each.text != record.text]
            other = [each for each in records if each.language != record.language]
            text = _WAYS[ways[record.id]](record.text, rng.choice(same).text, rng.choice(other).text)
            cue = Cue(start=record.cues[0].start, end=record.cues[-1].end, text=text)
            record = replace(record, cues=(cue,))  # noqa: PLW2901
        result.append(record)
    return result, ways


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", help="that listens too")
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--words", type=int, default=4)
    options = parser.parse_args(args)
    everything = [record for record in read_records(options.source) if record.task == "transcribe" and record.text]
    records = everything[:: max(1, len(everything) // options.records)]
    records, ways = corrupted(records, options.share, options.words)
    report = Report()
    kept = list(filtered(records, list(filters_for((), speech=True, model=options.model)), report))
    options.output.mkdir(parents=True, exist_ok=True)
    write_records(records, options.output / "corrupted.jsonl")
    write_records(kept, options.output / "kept.jsonl")
    stayed = {record.id for record in kept}
    print("\n".join(report.lines()))
    totals = Counter(ways.get(record.id, "clean") for record in records)
    dropped = Counter(ways.get(record.id, "clean") for record in records if record.id not in stayed)
    print("| Transcripts | | dropped | % |\n|---|---|---|---|")
    for way in (*_WAYS, "clean"):
        print(f"| {way} | {totals[way]} | {dropped[way]} | {100 * dropped[way] / max(1, totals[way]):.1f} |")
    bad = len(ways) or 1
    found = sum(dropped[way] for way in _WAYS)
    print(f"| all corrupted | {bad} | {found} | {100 * found / bad:.1f} |")


if __name__ == "__main__":
    main()
