"""How much of full fine-tuning's gain do small changes beside the model reach?

    python benchmarks/adapters.py --train MANIFEST --test MANIFEST --language it --output FOLDER [SETTING ...]

Manifests are JSON lists of objects with "audio", "language" and "text". Each method learns from the language's clips of
--train for as many steps, with the settings of `mtasr finetune`, and no initial weights stay in the result. Then the
trained model writes the language's clips of --test greedily, in torch (word errors without case, accents and marks),
and the mean loss of a token of their true texts is computed, which chance moves less than the errors of few words.

A SETTING is KEY=VALUE for all methods, or METHOD:KEY=VALUE for one (prompt:optimizer.learning_rate=1e-2). Results stay
in the folder: a method that has one is not trained again, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.reading import read_records
from mtasr.data.records import write_records
from mtasr.networks.whisper import Whisper
from mtasr.training.config import ADAPTER_METHODS, TrainConfig
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import best_checkpoints, export, train
from mtasr.training.objectives.sequence import SequenceObjective, judge
from mtasr.training.objectives.whisper import excerpts_to_judge
from mtasr.training.run_log import read_log

METHODS = ("full", "lora", "houlsby", "prefix", "prompt")


def records_of(manifest: Path, language: str, path: Path) -> Path:
    """The language's recordings with their transcripts."""
    if not path.exists():
        rows = [
            {"audio": str(manifest.parent / row["audio"]), "language": language, "text": row["text"]}
            for row in json.loads(manifest.read_text())
            if row["language"] == language
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = path.with_name(f"{path.stem}-manifest.json")
        chosen.write_text(json.dumps(rows))
        write_records(ingest(chosen, IngestOptions(time_by_speech=True), print), path)
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


def measured(objective: SequenceObjective, model: Whisper, test: Path) -> dict[str, float]:
    """Errors of greedy decoding, and the loss of a token, on the recordings of a file of records."""
    judged = excerpts_to_judge(list(read_records(test)), 10_000)
    figures = judge(model, objective.tokenizer, objective.settings, judged, objective.store)
    config = objective.config
    data = dataclasses.replace(
        config.data, train=(str(test),), timestamps=0.0, previous=0.0, join=0.0, short=0.0, lead=0.0, margin=1.0
    )
    still = dataclasses.replace(config.regularisation, time_masks=0, frequency_masks=0)
    texts = SequenceObjective(dataclasses.replace(config, data=data, regularisation=still))
    with torch.inference_mode():
        batches = [texts.batch(plan, np.random.default_rng(0)) for plan in texts.epoch(0)]
        loss = sum(float(texts.loss(model, batch)) for batch in batches) / sum(batch.targets for batch in batches)
    return {"wer": figures["wer"], "test_loss": loss}


def trained(config: TrainConfig, test: Path) -> dict[str, Any]:
    """Train to the end and measure."""
    run = train(config, lambda entry: print(json.dumps(entry), file=sys.stderr, flush=True))
    objective = SequenceObjective(config)
    steps = [entry for entry in read_log(run.folder / "log.jsonl") if "loss" in entry]
    model = objective.model(torch.device("cpu"))
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
        **measured(objective, objective.merged(best_checkpoints(run)).model, test),
    }


def untrained(config: TrainConfig, test: Path) -> dict[str, Any]:
    objective = SequenceObjective(config)
    model = objective.initial.model
    return {"weights": sum(each.numel() for each in model.parameters()), **measured(objective, model, test)}


def table(results: dict[str, dict[str, Any]], base: dict[str, Any]) -> str:
    rows = [
        "| | Weights trained | % | File | Rate | Seconds | WER % | Gain, % of full | Loss | Gain, % of full |",
        "|---|---|---|---|---|---|---|---|---|---|",
        f"| untrained | 0 | 0 | | | | {100 * base['wer']:.1f} | 0 | {base['test_loss']:.3f} | 0 |",
    ]
    for method, found in results.items():
        wer, loss = (share_of_gain(results.get("full"), base, found, name) for name in ("wer", "test_loss"))
        size = f"{found['bytes'] / 1e6:.2f} MB" if found["bytes"] else ""
        rows.append(
            f"| {method} | {found['weights']:,} | {100 * found['weights'] / base['weights']:.2f} | {size} "
            f"| {found['rate']:g} | {found['seconds']:.0f} | {100 * found['wer']:.1f} | {wer} "
            f"| {found['test_loss']:.3f} | {loss} |"
        )
    return "\n".join(rows)


def share_of_gain(full: dict[str, Any] | None, base: dict[str, Any], found: dict[str, Any], name: str) -> str:
    """In percent of what full fine-tuning gains; empty if it gains nothing."""
    gain = base[name] - full[name] if full else 0.0
    return f"{100 * (base[name] - found[name]) / gain:.0f}" if gain > 0 else ""


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
                overrides=[
                    f"data.cache={options.output / 'audio'}",
                    "regularisation.initial_share=0",
                    *settings_for(method, options.settings),
                ],
            )
            found = untrained(config, test) if method == "untrained" else trained(config, test)
            path.write_text(json.dumps(found, indent=1))
            print(json.dumps({method: found}), flush=True)
        results[method] = json.loads(path.read_text())
    base = results.pop("untrained")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(table(results, base))


if __name__ == "__main__":
    main()
