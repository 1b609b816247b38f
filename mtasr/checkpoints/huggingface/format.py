"""The format of Hugging Face transformers: a folder with `model.safetensors` and JSON files."""

from __future__ import annotations

from pathlib import Path

from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision


class HuggingFace(Format):
    name = "huggingface"
    looks = "a folder with *.safetensors"
    files = frozenset(
        {
            "added_tokens.json",
            "config.json",
            "generation_config.json",
            "merges.txt",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.json",
        }
    )

    def detects(self, path: Path) -> bool:
        return any(path.glob("*.safetensors"))

    def load(self, path: Path) -> Checkpoint:
        from mtasr.checkpoints.huggingface.tensors import load

        return load(path)

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        from mtasr.checkpoints.huggingface.tensors import save

        save(checkpoint, path, precision)
