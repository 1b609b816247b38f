"""What `mtasr models info` shows. Needs no torch for CTranslate2 folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtasr.checkpoints.checkpoint import Checkpoint, Precision, Summary
from mtasr.checkpoints.formats import format_of, load_checkpoint
from mtasr.networks.dimensions import ModelDimensions
from mtasr.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model on disk."""

    path: Path
    #: The name of its format.
    kind: str
    dims: ModelDimensions
    precision: Precision
    multilingual: bool
    #: Codes, in the order of their tokens.
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    #: See `Summary`.
    optimized_for: tuple[str, ...]
    #: Bytes of all its files.
    size: int


def info(path: Path) -> ModelInfo:
    """Read the facts of a model. Raises as `load_checkpoint` does."""
    kind = format_of(path)
    dims, precision, tokens, optimized_for = kind.summary(path) or _summary(load_checkpoint(path))
    tokenizer = Tokenizer(tokens)
    return ModelInfo(
        path=path,
        kind=kind.name,
        dims=dims,
        precision=precision,
        multilingual=tokenizer.is_multilingual,
        languages=tuple(sorted(tokenizer.language_tokens, key=tokenizer.language_tokens.__getitem__)),
        tasks=("transcribe", "translate") if tokenizer.is_multilingual else ("transcribe",),
        optimized_for=optimized_for,
        size=sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()) if file.is_file()),
    )


def _summary(checkpoint: Checkpoint) -> Summary:
    return Summary(checkpoint.model.dims, checkpoint.precision, checkpoint.tokens)
