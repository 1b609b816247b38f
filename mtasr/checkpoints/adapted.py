"""A model with adapters or a trained prompt, from the file of these alone. Such files are read, not converted to."""

from __future__ import annotations

from pathlib import Path

from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision
from mtasr.errors import ModelError


class Adapted(Format):
    name = "adapter"
    looks = "an adapter file *.safetensors"
    ending = ".safetensors"

    def detects(self, path: Path) -> bool:
        return path.suffix == self.ending and path.is_file()

    def load(self, path: Path) -> Checkpoint:
        from mtasr.checkpoints.adapter_file import load_adapted

        return load_adapted(path)

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        raise ModelError(f"{path}: only training writes adapter files")
