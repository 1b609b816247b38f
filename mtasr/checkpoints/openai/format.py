"""The format of OpenAI's checkpoints: one `.pt` file."""

from __future__ import annotations

from pathlib import Path

from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision


class OpenAI(Format):
    """Takes any file: its name need not end with `.pt`."""

    name = "openai"
    looks = "a .pt file"
    ending = ".pt"

    def detects(self, path: Path) -> bool:
        return path.is_file()

    def load(self, path: Path) -> Checkpoint:
        from mtasr.checkpoints.openai.tensors import load

        return load(path)

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        from mtasr.checkpoints.openai.tensors import save

        save(checkpoint, path, precision)
