"""How many seconds of audio a second training takes in, against Seq2SeqTrainer of Hugging Face's transformers.

    mtasr models convert base FOLDER --format huggingface
    python benchmarks/trainer.py --model base --huggingface FOLDER --train RECORDS --work EMPTY-FOLDER

Needs transformers and accelerate beside the extra `train`. Both train the same weights with AdamW in float32 on the
same batches of windows padded to 30 s, the only length that transformers knows; its features are computed beforehand.
The loop is then measured once more on the windows as it forms them by itself. They take turns, each in a process of its
own, and the first step of each is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback, WhisperForConditionalGeneration

from mtasr.training.batches import TextBatch
from mtasr.training.config import TrainConfig, make_config
from mtasr.training.loop import train
from mtasr.training.objectives import make_objective
from mtasr.training.run_log import read_log

THEIRS, _, OWN = WHO = ("transformers, 30 s", "mtasr, 30 s", "mtasr")


class Timer(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        # The data loader has given the batch by now; it is in memory, so that costs nothing.
        self._last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._last)


class Sequential(Seq2SeqTrainer):  # type: ignore[misc]
    def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def theirs(folder: Path, batches: Sequence[TextBatch], work: Path) -> tuple[list[float], float]:
    """Seconds of each step, and the mean loss."""
    torch.manual_seed(0)
    items = [
        {
            "input_features": torch.from_numpy(batch.mel),
            "decoder_input_ids": torch.from_numpy(batch.tokens),
            "labels": torch.from_numpy(batch.labels),
        }
        for batch in batches
    ]
    timer = Timer()
    trainer = Sequential(
        model=WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32),
        args=Seq2SeqTrainingArguments(
            str(work),
            max_steps=len(items),
            per_device_train_batch_size=1,
            learning_rate=1e-5,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
        ),
        train_dataset=items,
        data_collator=lambda given: given[0],  # an item is a whole batch
        callbacks=[timer],
    )
    loss = trainer.train().training_loss
    return timer.seconds, loss


def ours(config: TrainConfig) -> list[dict[str, Any]]:
    run = train(config)
    return [entry for entry in read_log(run.folder / "log.jsonl") if "loss" in entry]


def config_for(options: argparse.Namespace, folder: Path, **data: float) -> TrainConfig:
    return make_config(
        {
            "model": options.model, "output": str(folder), "steps": options.steps, "device": "cpu",
            "save_every": 0, "regularisation": {"time_masks": 0, "frequency_masks": 0},
            "optimizer": {"learning_rate": 1e-5, "warmup": 0, "weight_decay": 0.0},
            "data": {"train": str(options.train), "cache": str(options.work / "audio"), "join": 0.8,
                     "batch_seconds": 30.0 * options.windows, **data},
        }
    )  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of audio a second, the mean loss and the share of padding of one of them."""
    padded = {} if options.measure == OWN else {"full_context": 1.0, "padding": 1.0}
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        config = config_for(options, Path(name) / "run", **padded)
        if options.measure != THEIRS:
            entries = ours(config)
            return {
                "speed": sum(e["audio_seconds"] for e in entries[1:]) / sum(e["seconds"] for e in entries[1:]),
                "loss": statistics.mean(entry["loss"] for entry in entries),
                "padding": statistics.mean(entry["padding"] for entry in entries),
            }
        objective, rng = make_objective(config), np.random.default_rng(0)
        batches = [objective.batch(plan, rng) for plan in objective.epoch(0)[: options.steps]]
        seconds, loss = theirs(options.huggingface, batches, Path(name))
        heard, shown = sum(b.seconds for b in batches), 30.0 * sum(len(b.mel) for b in batches)
        return {
            "speed": sum(b.seconds for b in batches[1:]) / sum(seconds[1:]), "loss": loss, "padding": 1 - heard / shown
        }  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base")
    parser.add_argument("--huggingface", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=2, help="in a batch")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=WHO, help=argparse.SUPPRESS)
    given = sys.argv[1:] if args is None else list(args)
    options = parser.parse_args(given)
    if options.measure:
        print(json.dumps(measure(options)))
        return
    rounds: dict[str, list[float]] = {who: [] for who in WHO}
    for number in range(options.rounds):
        for who in WHO:
            command = [sys.executable, __file__, *given, "--measure", who]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rounds[who].append(found["speed"])
            print(
                f"round {number + 1}, {who}: {found['speed']:.2f} s of audio a second, "
                f"loss {found['loss']:.4f}, padding {found['padding']:.0%}",
                flush=True,
            )
    for who, speeds in rounds.items():
        ratios = [one / other for one, other in zip(speeds, rounds[THEIRS], strict=True)]
        print(f"{who}: {statistics.median(ratios):.2f} times in the median of {len(ratios)} pairs")


if __name__ == "__main__":
    main()
