"""How much of full fine-tuning's gain do small changes beside the model reach?

    python benchmarks/adapters.py --train MANIFEST --test MANIFEST --language it --output FOLDER [SETTING ...]

Manifests are JSON lists of objects with "audio", "language" and "text". Each method learns from the language's clips of
--train for as many steps, with the settings of `mtasr finetune`. Then the trained model writes the language's clips of
--test greedily, in torch: word errors without case, accents and marks.

A SETTING is KEY=VALUE for all methods, or METHOD:KEY=VALUE for one (prompt:optimizer.learning_rate=1e-2). Results stay
in the folder: a method that has one is not trained again, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.records import write_records
from mtasr.training.config import ADAPTER_METHODS, TrainConfig
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import export, train
from mtasr.training.objectives.sequence import SequenceObjective, judge
from mtasr.training.run_log import read_log

METHODS = ("full", "lora", "houlsby", "prefix", "prompt")


def records_of(manifest: Path, language: str, path: Path) -> Path:
    """The language's recordings with their transcripts."""
    if not path.exists():
        found = ingest(manifest, IngestOptions(time_by_speech=True), print)
        write_records((each for each in found if each.language == language and each.task == "transcribe"), path)
    return path


def settings_for(method: str, given: Iterable[str]) -> list[str]:
    """Those of all methods, and those of this one without its name."""
    found = []
    for each in given:
        name, _, setting = each.partition(":")
        if name == method:
            found.append(setting)
        elif name not in METHODS:
            found.append(each)
    return found


def trained(config: TrainConfig) -> dict[str, Any]:
    """Train to the end and measure."""
    run = train(config, lambda entry: print(json.dumps(entry), file=sys.stderr, flush=True))
    log = read_log(run.folder / "log.jsonl")
    steps = [entry for entry in log if "loss" in entry]
    model = run.objective.model(torch.device("cpu"))
    weights = sum(each.numel() for each in model.parameters() if each.requires_grad)
    result = export(run) if config.method in ADAPTER_METHODS else None
    file = run.folder / "adapter.safetensors"
    return {
        "weights": weights,
        "bytes": file.stat().st_size if result is not None else None,
        "steps": len(steps),
        "audio": sum(entry["audio_seconds"] for entry in steps),
        "seconds": sum(entry["seconds"] for entry in steps),
        "rate": config.optimizer.learning_rate,
        "loss": sum(entry["loss"] for entry in steps[-5:]) / len(steps[-5:]),
        **[entry["evaluation"] for entry in log if "evaluation" in entry][-1],
    }


def untrained(config: TrainConfig) -> dict[str, Any]:
    objective = SequenceObjective(config)
    figures = judge(objective.initial.model, objective.tokenizer, objective.settings, objective.judged, objective.store)
    return {"weights": sum(each.numel() for each in objective.initial.model.parameters()), **figures}


def table(results: dict[str, dict[str, Any]], base: dict[str, Any]) -> str:
    rows = [
        "| | Weights trained | % | File | Rate | Steps | Seconds | Loss, last 5 | WER % | Gain, % of full |",
        "|---|---|---|---|---|---|---|---|---|---|",
        f"| untrained | 0 | 0 | | | | | | {100 * base['wer']:.1f} | 0 |",
    ]
    full = base["wer"] - results["full"]["wer"] if "full" in results else 0.0
    for method, found in results.items():
        gain = f"{100 * (base['wer'] - found['wer']) / full:.0f}" if full else ""
        size = f"{found['bytes'] / 1e6:.2f} MB" if found["bytes"] else ""
        rows.append(
            f"| {method} | {found['weights']:,} | {100 * found['weights'] / base['weights']:.2f} | {size} "
            f"| {found['rate']:g} | {found['steps']} | {found['seconds']:.0f} | {found['loss']:.3f} "
            f"| {100 * found['wer']:.1f} | {gain} |"
        )
    return "\n".join(rows)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--language", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--method", action="append", choices=METHODS, help="repeat for several; all by default")
    parser.add_argument("settings", nargs="*", metavar="SETTING")
    options = parser.parse_args(args)
    own = records_of(options.train, options.language, options.output / "train.jsonl")
    test = records_of(options.test, options.language, options.output / "test.jsonl")
    results: dict[str, dict[str, Any]] = {}
    for method in ("untrained", *(options.method or METHODS)):
        path = options.output / f"{method}.json"
        if not path.exists():
            config = finetune_config(
                options.model,
                [own],
                options.output / method,
                method="full" if method == "untrained" else method,
                evaluation=[test],
                overrides=[
                    f"data.cache={options.output / 'audio'}", "data.evaluation_windows=1000",
                    *settings_for(method, options.settings),
                ],
            )  # fmt: skip
            path.write_text(json.dumps(untrained(config) if method == "untrained" else trained(config), indent=1))
        results[method] = json.loads(path.read_text())
    base = results.pop("untrained")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(table(results, base))


if __name__ == "__main__":
    main()
