"""Does fine-tuning on a few minutes of one language lower its errors, and what becomes of the other languages?

    python benchmarks/finetune.py --train MANIFEST --test MANIFEST --language it --output RUN [KEY=VALUE ...]

Manifests are JSON lists of objects with "audio", "language" and "text" (and "translation"). The language's clips of
--train are learned from, the others' and the translations are rehearsed (--no-rehearsal goes without). Then both models
transcribe --test, with the language given: word errors without case, accents and marks, for each language.

Training goes on where it was stopped, so `timeout 400 python benchmarks/finetune.py ...` may be called several times;
the seconds of all steps are added up from the run's log.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from mtasr import load_model
from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.records import write_records
from mtasr.data.texts import word_errors
from mtasr.edit_distance import ErrorCount
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import export, train
from mtasr.training.run_log import read_log


def prepared(manifest: Path, language: str, output: Path) -> tuple[Path, Path]:
    """Records of the language, and those of everything else."""
    wanted, others = output / "language.jsonl", output / "others.jsonl"
    if not others.exists():
        records = list(ingest(manifest, IngestOptions(time_by_speech=True), print))
        own = [record for record in records if record.language == language and record.task == "transcribe"]
        write_records(own, wanted)
        write_records((record for record in records if record not in own), others)
    return wanted, others


def errors_by_language(model: str | Path, manifest: Path) -> dict[str, ErrorCount]:
    loaded, totals = load_model(model), defaultdict(ErrorCount)
    for row in json.loads(manifest.read_text()):
        text = loaded.transcribe(manifest.parent / row["audio"], language=row["language"]).text
        totals[row["language"]] += word_errors(row["text"], text)
    return dict(totals)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--language", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--method", default="full", choices=["full", "decoder", "lora"])
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--no-rehearsal", action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args(args)
    own, others = prepared(options.train, options.language, options.output)
    config = finetune_config(
        options.model, [own], options.output / "run", method=options.method, epochs=options.epochs,
        rehearsal=[] if options.no_rehearsal else [others], overrides=options.overrides,
    )  # fmt: skip
    run = train(config, lambda entry: print(entry, flush=True))
    folder = export(run).path
    steps = [entry for entry in read_log(run.folder / "log.jsonl") if "loss" in entry]
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(steps)} steps in {sum(entry['seconds'] for entry in steps):.0f} s, ", end="")
    print(f"{sum(entry['audio_seconds'] for entry in steps):.0f} s of audio, ", end="")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", flush=True)
    before, after = (errors_by_language(model, options.test) for model in (options.model, folder))
    print("| Language | Words | WER % before | after |\n|---|---|---|---|")
    for language in before:
        one, other = before[language], after[language]
        print(f"| {language} | {one.length} | {100 * one.rate:.1f} | {100 * other.rate:.1f} |")


if __name__ == "__main__":
    main()
