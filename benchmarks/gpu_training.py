"""Speed, memory and losses of training on one or more GPUs, in each way that the settings offer.

    python benchmarks/gpu_training.py WORK [SETTING=VALUE ...]
    torchrun --nproc-per-node=8 benchmarks/gpu_training.py WORK parallel=fsdp precision=bfloat16 compile=true

Each call trains new weights of the size `--size` for a few steps on noise with made texts, adds a line to
WORK/results.jsonl, and compares its losses with those of the first line there. All calls compute the same batches,
whatever the number of processes, so that losses differ by rounding alone; with `--most` the script fails if one differs
by a larger part. `base` gives the vocabulary (extra `base`). `--size tiny --seconds 30 device=cpu` is a check without a
GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtasr.data.records import Caption, Record, write_records
from mtasr.networks.dimensions import DIMENSIONS
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import TrainConfig, make_config
from mtasr.training.loop import train
from mtasr.training.parallel import processes
from mtasr.training.run_log import read_log

_WORDS = ("the", "of", "and", "time", "people", "water", "house", "under", "again", "morning")
#: Steps at the start that are not counted: they compile, and fill the caches.
_WARM = 3


def write_noise(path: Path, count: int) -> None:
    """Records of 30 s of noise, each with a text of some 90 words."""
    if path.exists():
        return
    rng, records = np.random.default_rng(0), []
    for number in range(count):
        audio = path.parent / f"{number}.wav"
        with wave.open(str(audio), "wb") as stream:
            stream.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            stream.writeframes(rng.normal(0, 3000, 30 * SAMPLE_RATE).astype("<i2").tobytes())
        captions = tuple(
            Caption(start=float(start), end=start + 5.0, text=" ".join(rng.choice(_WORDS, 15)))
            for start in range(0, 30, 5)
        )
        records.append(Record(id=str(number), audio=str(audio), duration=30.0, language="en", captions=captions))
    write_records(records, path)


def config_for(options: argparse.Namespace, records: Path, folder: Path) -> TrainConfig:
    sizes = dataclasses.asdict(DIMENSIONS[options.size])
    del sizes["n_vocab"]
    document = {
        "model": "base", "scratch": sizes, "output": str(folder), "steps": options.steps, "save_every": 0,
        "resume": "never",
        "data": {
            "train": str(records), "cache": str(options.work / "audio"), "batch_seconds": options.seconds,
            "batch_tokens": 100_000, "short": 0.0, "join": 0.0, "previous": 0.0,
        },
        "optimizer": {"learning_rate": 1e-4, "warmup": 5, "batches_per_step": options.batches},
    }  # fmt: skip
    return make_config(document, options.settings)


def peak_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def result_of(config: TrainConfig, options: argparse.Namespace, processes: int) -> dict[str, Any]:
    entries = [entry for entry in read_log(Path(config.output) / "log.jsonl") if "loss" in entry]
    counted = entries[_WARM:]
    return {
        "settings": options.settings, "size": options.size, "processes": processes,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "seconds_per_step": statistics.median(entry["seconds"] for entry in counted),
        "audio_per_second": sum(e["audio_seconds"] for e in counted) / sum(e["seconds"] for e in counted),
        "waited": sum(entry["waited"] for entry in counted) / sum(entry["seconds"] for entry in counted),
        "peak_gb": peak_bytes() / 1e9,
        "losses": [entry["loss"] for entry in entries],
    }  # fmt: skip


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of losses, as a part of them."""
    return max(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True))


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--size", choices=sorted(DIMENSIONS), default="large-v3")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=240.0, help="of audio in a batch")
    parser.add_argument("--batches", type=int, default=8, help="in a step, of all processes together")
    parser.add_argument("--most", type=float, help="by which losses may differ from those of the first line")
    options = parser.parse_intermixed_args(args)
    leads = os.environ.get("RANK", "0") == "0"
    options.work.mkdir(parents=True, exist_ok=True)
    records = options.work / "noise.jsonl"
    if leads:
        write_noise(records, 64)
    while not records.exists():  # the first process is writing it
        time.sleep(0.1)
    results = options.work / "results.jsonl"
    number = len(results.read_text().splitlines()) if results.exists() else 0
    config = config_for(options, records, options.work / f"run-{number}")
    train(config)
    if not leads:
        return
    result = result_of(config, options, processes())
    earlier = [json.loads(line) for line in results.read_text().splitlines()] if number else [result]
    with results.open("a") as stream:
        stream.write(json.dumps(result) + "\n")
    apart = difference(result["losses"], earlier[0]["losses"])
    print(
        f"{' '.join(options.settings) or 'defaults'}, {result['processes']} processes: "
        f"{result['audio_per_second']:.1f} s of audio a second, {result['seconds_per_step']:.3f} s a step, "
        f"{result['peak_gb']:.1f} GB at most, waited {result['waited']:.0%} for data, losses differ by {apart:.1e}"
    )
    if options.most is not None and apart > options.most:
        sys.exit(f"losses differ by more than {options.most}")


if __name__ == "__main__":
    main()
