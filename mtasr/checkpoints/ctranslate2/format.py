"""The format of CTranslate2: a folder with `model.bin`, `config.json` and the vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision, Summary
from mtasr.models.folder import ALLOWED, PROVENANCE

if TYPE_CHECKING:
    from mtasr.arrays import Float32Array
    from mtasr.checkpoints.parity_clip import Rules, Runner


class CTranslate2(Format):
    """The only format that stores int8, and the one that transcription reads."""

    name = "ctranslate2"
    looks = "a folder with model.bin"
    files = ALLOWED | {PROVENANCE}
    stores_int8 = True

    def detects(self, path: Path) -> bool:
        return (path / "model.bin").is_file()

    def load(self, path: Path) -> Checkpoint:
        from mtasr.checkpoints.ctranslate2.tensors import load

        return load(path)

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        from mtasr.checkpoints.ctranslate2.tensors import save

        save(checkpoint, path, precision)

    def summary(self, path: Path) -> Summary:
        from mtasr.checkpoints.ctranslate2.documents import optimized_for
        from mtasr.checkpoints.ctranslate2.info import checked_folder

        dims, precision, tokens, _ = checked_folder(path)
        return Summary(dims, precision, tokens, optimized_for(path))

    def runner(self, path: Path, precision: Precision, mel: Float32Array, rules: Rules, context: int) -> Runner:
        from mtasr.checkpoints.parity_clip import CTranslate2Runner

        # Types that every CPU can compute in; CTranslate2's own choice is the same, with a warning.
        compute = "int8_float32" if precision.startswith("int8") else "float32"
        return CTranslate2Runner(path, mel, rules, context, compute)
