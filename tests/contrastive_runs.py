"""Runs of objectives that learn by contrast, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtasr.training.config import TrainConfig, make_config

#: The sizes that make encoders of the presets tiny and tiny-cpc fast; convolutions keep theirs.
SIZES: dict[str, dict[str, int]] = {
    "wav2vec2": {"width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "position_kernel": 16, "position_groups": 4},
    "cpc": {},
}


def configured(objective: str, output: Path, recordings: Path, *overrides: str, steps: int = 4) -> TrainConfig:
    """Windows of 1.28 s, two to a batch, and evaluation on four of the same recordings."""
    document: dict[str, Any] = {
        "objective": objective, "objective_options": {"negatives": 8, "sizes": SIZES[objective]},
        "output": str(output), "steps": steps, "device": "cpu",
        "data": {
            "train": str(recordings), "evaluation": str(recordings), "evaluation_windows": 4, "longest": 1.28,
            "shortest": 1.28, "batch_seconds": 2.6, "cache": str(recordings / "cache"),
        },
        "optimizer": {"learning_rate": 1e-3, "warmup": min(2, steps)},
    }  # fmt: skip
    return make_config(document, overrides)
