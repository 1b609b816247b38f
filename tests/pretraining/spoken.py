"""Recordings of speech without text, and runs of HuBERT and WavLM that learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speech import speak, write_wav

from mtasr.training.config import TrainConfig, make_config
from mtasr.training.run_log import read_log

SENTENCES = {
    "tide": ("The tide comes in twice a day.", "en-us"),
    "clocks": ("Her brother mends old clocks.", "en-us+m3"),
    "ships": ("Nine ships left the bay.", "en-us+f4"),
}


def write_recordings(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (text, voice) in SENTENCES.items():
        write_wav(folder / f"{name}.wav", speak(text, voice))
    return folder


def configured(objective: str, output: Path, data: Path, *overrides: str, steps: int = 3) -> TrainConfig:
    document: dict[str, Any] = {
        "objective": objective,
        "output": str(output),
        "steps": steps,
        "device": "cpu",
        "objective_options": {
            "sizes": {"width": 16, "layers": 2, "heads": 2, "feed_forward": 32, "position_kernel": 8},
            "units": 12,
            "compared_width": 8,
        },
        "data": {"train": str(data), "longest": 2.0, "shortest": 1.0, "batch_seconds": 6.0},
        "optimizer": {"learning_rate": 1e-3, "warmup": min(2, steps)},
    }
    return make_config(document, overrides)


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]
