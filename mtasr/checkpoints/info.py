"""What `mtasr models info` tells of a model. Needs no torch for CTranslate2 folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtasr.checkpoints.checkpoint import Precision, detect_format, load_checkpoint
from mtasr.checkpoints.ctranslate2.documents import optimized_for
from mtasr.checkpoints.ctranslate2.info import checked_folder
from mtasr.checkpoints.tensor_names import Format
from mtasr.networks.dimensions import ModelDimensions
from mtasr.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model on disk."""

    path: Path
    kind: Format
    dims: ModelDimensions
    precision: Precision
    multilingual: bool
    #: Codes, in the order of their tokens.
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    #: Codes of the languages that its vocabulary was cut down to by `optimize`; none for a whole vocabulary.
    optimized_for: tuple[str, ...]
    #: Bytes of all its files.
    size: int


def info(path: Path) -> ModelInfo:
    """Read what there is to say. Raises as `load_checkpoint` does."""
    kind = detect_format(path)
    if kind == "ctranslate2":
        dims, precision, tokens, _ = checked_folder(path)
    else:
        checkpoint = load_checkpoint(path)
        dims, precision, tokens = checkpoint.model.dims, checkpoint.precision, checkpoint.tokens
    tokenizer = Tokenizer(tokens)
    languages = sorted(tokenizer.language_tokens.items(), key=lambda item: item[1])
    return ModelInfo(
        path=path,
        kind=kind,
        dims=dims,
        precision=precision,
        multilingual=tokenizer.is_multilingual,
        languages=tuple(code for code, _ in languages),
        tasks=("transcribe", "translate") if tokenizer.is_multilingual else ("transcribe",),
        optimized_for=optimized_for(path) if kind == "ctranslate2" else (),
        size=sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()) if file.is_file()),
    )
