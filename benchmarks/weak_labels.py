"""How many corrupted transcripts do the filters find, and how many good ones do they drop?

    python benchmarks/weak_labels.py RECORDS --output FOLDER [--model base] [--every 3] [--first 1]
    python benchmarks/weak_labels.py RECORDS --output FOLDER --model base --test MANIFEST [--steps 60] [KEY=VALUE ...]
    python benchmarks/weak_labels.py made --output FOLDER --model base [--steps 60] [KEY=VALUE ...]
    python benchmarks/weak_labels.py made --scratch --output FOLDER --model base --steps 1500 [KEY=VALUE ...]

Of every third record, say, 30 % get a transcript that is wrong in one of five ways, as many in each: text in another
language, that of another recording in the same language (shifted by some), as machines write it (lower case without
marks), written twice, or cut to its first half. As half a word is no transcript, texts of one word are not cut; as
people write short texts without capitals and marks too, texts of less than four words are not made by machines.
FOLDER/corrupted.jsonl is what `mtasr finetune` may learn from unfiltered, FOLDER/kept.jsonl what the filters leave.

With --test, the model then learns from each of both in as many steps, and transcribes that manifest (see finetune.py).
With "made" in place of records, sentences are synthesised (`made_speech.py`): 225 to learn from, and 60 others by other
voices to test with. With --scratch they are 1,350 and 240, and the small model of `from_scratch.py`, which knows
nothing yet, learns from them. Called again with the same arguments, it goes on where it was stopped, and takes the
files that are there; --from corrupted and --from kept may run side by side.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from finetune import errors_by_language
from from_scratch import CONFIG, listed, make_vocabulary
from grammar import LANGUAGES
from made_speech import UNSEEN_VOICES, VOICES, make_set

from mtasr.cli.data import filters_for
from mtasr.data.duplicates import NearDuplicates
from mtasr.data.filtering import Report, judged, kept
from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.reading import read_records
from mtasr.data.records import Caption, Record, write_records
from mtasr.data.texts import normalised
from mtasr.edit_distance import ErrorCount
from mtasr.training.config import TrainConfig, read_config
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import export, train

#: A record, another one of its language and one of another language -> the corrupted text.
_WAYS: dict[str, Callable[[str, str, str], str]] = {
    "wrong language": lambda own, same, other: other,
    "shifted": lambda own, same, other: same,
    "machine-made": lambda own, same, other: " ".join(re.findall(r"\w+", own.lower())),
    "duplicated": lambda own, same, other: f"{own} {own}",
    "truncated": lambda own, same, other: " ".join(own.split()[: max(1, len(own.split()) // 2)]),
}


#: The fewest words of a text that is corrupted in such a way, where that is not one.
_LEAST_WORDS = {"machine-made": 4, "truncated": 2}

#: Synthesised sentences of each voice in each language: to learn from and to test with, for a model that knows speech
#: and for one that knows nothing.
_SENTENCES, _SENTENCES_FROM_SCRATCH = (5, 10), (30, 40)

#: What is learned from: all transcripts, and those that the filters leave.
_SETS = ("corrupted", "kept")
#: Lengths of texts that are counted apart: name, and the fewest words.
_LENGTHS = {"4 or more words": 4, "2 or 3 words": 2, "1 word": 1}


def corrupted(records: Sequence[Record], share: float) -> tuple[list[Record], dict[str, str]]:
    """All records, a share of them with another text; and the way of each of those, by its id."""
    rng = random.Random(0)
    changed: dict[str, Record] = {}
    ways: dict[str, str] = {}
    # Those that not all texts suit choose first.
    order = sorted(_WAYS, key=lambda way: -_LEAST_WORDS.get(way, 1))
    for place, way in enumerate(order):
        count = round(share * len(records) * (place + 1) / len(order)) - len(ways)
        others = [record for record in records if record.id not in ways]
        for record in rng.sample(others, len(others)):
            if not count:
                break
            if (text := _corrupted(record, way, records, rng)) is not None:
                caption = Caption(start=record.captions[0].start, end=record.captions[-1].end, text=text)
                changed[record.id], ways[record.id] = replace(record, captions=(caption,)), way
                count -= 1
    return [changed.get(record.id, record) for record in records], ways


_normal = functools.cache(normalised)


def _corrupted(record: Record, way: str, records: Sequence[Record], rng: random.Random) -> str | None:
    """Another text for a record, None where this way makes none of it."""
    if len(record.text.split()) < _LEAST_WORDS.get(way, 1):
        return None
    unlike = [each for each in records if _normal(each.text) != _normal(record.text)]
    same = [each.text for each in unlike if each.language == record.language]
    other = [each.text for each in unlike if each.language != record.language]
    text = _WAYS[way](record.text, rng.choice(same), rng.choice(other))
    return None if text == record.text else text


def _length(record: Record) -> str:
    return next(name for name, least in _LENGTHS.items() if len(record.text.split()) >= least)


def _table(records: Sequence[Record], ways: Mapping[str, str], stayed: Container[str]) -> Iterator[str]:
    """Dropped of all, by way and by the length of the right text."""
    totals = Counter((ways.get(record.id, "clean"), _length(record)) for record in records)
    dropped = Counter((ways.get(record.id, "clean"), _length(record)) for record in records if record.id not in stayed)
    lengths = list(reversed(_LENGTHS))
    yield f"| Dropped of all | {' | '.join(lengths)} | together | % |"
    yield "|---|" + "---|" * (len(lengths) + 2)
    for name, those in (*((way, [way]) for way in _WAYS), ("all corrupted", list(_WAYS)), ("clean", ["clean"])):
        found = [sum(dropped[way, length] for way in those) for length in lengths]
        every = [sum(totals[way, length] for way in those) for length in lengths]
        cells = [f"{part} of {whole}" if whole else "" for part, whole in zip(found, every, strict=True)]
        share = 100 * sum(found) / max(1, sum(every))
        yield f"| {name} | {' | '.join(cells)} | {sum(found)} of {sum(every)} | {share:.1f} |"


def made(folder: Path, to_learn: int, to_test: int) -> tuple[Path, Path]:
    """Records of synthesised sentences to learn from, and a manifest of others to test with."""
    records, manifest = folder / "made.jsonl", folder / "made.json"
    if manifest.exists():
        return records, manifest
    make_set(folder / "train", VOICES, recordings=to_learn, sentences=1, nothing=0, held_out=False, seed=5)
    make_set(folder / "test", UNSEEN_VOICES, recordings=to_test, sentences=1, nothing=0, held_out=True, seed=6)
    write_records(_ingested(folder / "train"), records)
    test = _ingested(folder / "test")
    rows = [{"audio": each.audio, "language": each.language, "text": each.text} for each in test]
    manifest.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    return records, manifest


def _ingested(folder: Path) -> Iterator[Record]:
    for language in LANGUAGES:
        for record in ingest(folder / language, IngestOptions(language=language, source="made"), print):
            if record.task == "transcribe":
                yield replace(record, id=f"{language}/{record.id}")


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", help="that listens too")
    parser.add_argument("--every", type=int, default=1, help="take one record of so many, ...")
    parser.add_argument("--first", type=int, default=0, help="... from this on, counted from 0")
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--test", type=Path, help="a manifest of other recordings to score what is learned by")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--scratch", action="store_true", help="with made: learn from nothing, not with --model")
    parser.add_argument("--from", dest="sets", choices=_SETS, action="append", help="learn from these alone")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the training")
    options = parser.parse_intermixed_args(args)
    if options.source == Path("made"):
        sentences = _SENTENCES_FROM_SCRATCH if options.scratch else _SENTENCES
        options.source, options.test = made(options.output, *sentences)
    elif options.scratch:
        parser.error("--scratch is for made sentences")
    if options.test is not None and options.model is None:
        parser.error("a test needs --model")
    if options.test is None or not (options.output / "kept.jsonl").exists():
        choose(options)
    if options.test is not None:
        compare(options)


def choose(options: argparse.Namespace) -> None:
    """Corrupt, filter, and tell what was found."""
    everything = [record for record in read_records(options.source) if record.task == "transcribe" and record.text]
    originals = everything[options.first :: options.every]
    records, ways = corrupted(originals, options.share)
    options.output.mkdir(parents=True, exist_ok=True)
    write_records(records, options.output / "corrupted.jsonl")
    report = Report()
    verdicts = judged(records, list(filters_for((), speech=True, model=options.model)))
    found = list(kept(verdicts, report, [NearDuplicates()]))
    write_records(found, options.output / "kept.jsonl")
    print("\n".join(report.lines()))
    print("\n".join(_table(originals, ways, {record.id for record in found})), flush=True)


def compare(options: argparse.Namespace) -> None:
    """Word errors of the model, and of what it becomes by learning from all transcripts or those that were kept."""
    scores = {} if options.scratch else {options.model: errors_by_language(options.model, options.test)}
    for name in options.sets or _SETS:
        records, run = options.output / f"{name}.jsonl", options.output / name
        overrides = [f"steps={options.steps}", *options.overrides]
        config = (
            _scratch_config(options.output, records, run, overrides)
            if options.scratch
            else finetune_config(options.model, [records], run, overrides=overrides)
        )
        folder = export(train(config, lambda entry: print(entry, flush=True))).path
        scores[name] = errors_by_language(folder, options.test)
    languages = list(next(iter(scores.values())))
    print(f"| WER % | {' | '.join(languages)} | together |\n|---|{'---|' * len(languages)}---|")
    for name, errors in scores.items():
        rates = [*errors.values(), sum(errors.values(), ErrorCount())]
        print(f"| {name} | " + " | ".join(f"{100 * each.rate:.1f}" for each in rates) + " |")


def _scratch_config(folder: Path, records: Path, run: Path, overrides: Sequence[str]) -> TrainConfig:
    """That of `from_scratch.py`, with a vocabulary of the texts as they were before they were corrupted."""
    vocabulary = make_vocabulary([folder / "made.jsonl"], folder / "vocabulary")
    places = {"output": run, "vocabulary": vocabulary, "data.cache": folder / "audio", "data.train": listed([records])}
    return read_config(CONFIG, [*(f"{key}={value}" for key, value in places.items()), *overrides])


if __name__ == "__main__":
    main()
