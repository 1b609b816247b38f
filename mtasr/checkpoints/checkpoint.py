"""Checkpoints: a Whisper model with its vocabulary and generation settings, in whatever format it is stored.

    openai         one .pt file: dimensions and tensors (and, in ours, vocabulary and settings)
    huggingface    a folder with config.json and model.safetensors, as transformers has it
    ctranslate2    a folder with config.json, model.bin and the vocabulary

Each format has a module that turns it into a `Checkpoint` and back. Whatever is wrong with a checkpoint is found
before the first byte is written, and told in one error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mtasr.checkpoints.settings import GenerationSettings
from mtasr.checkpoints.tensor_names import Format
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.networks.dimensions import ModelDimensions
    from mtasr.networks.whisper import Whisper

FORMATS: tuple[Format, ...] = get_args(Format)

#: How tensors are stored. int8 goes for matrices, in CTranslate2's format alone; what follows it is for the rest.
Precision = Literal["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# Absurdly high, so that nobody's model is refused; a header that asks for more is not worth a try.
_LIMITS = {"mels": 4096, "ctx": 1 << 20, "state": 1 << 16, "head": 1 << 12, "layer": 512, "vocab": 1 << 24}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in float32, the tokens of its vocabulary by id, and what else it takes to generate text.

    `precision` is that of the file it was read from.
    """

    model: Whisper
    tokens: list[str]
    settings: GenerationSettings
    precision: Precision = "float32"

    def problems(self) -> list[str]:
        """In what the parts do not fit each other."""
        dims, found = self.model.dims, []
        if len(self.tokens) != dims.n_vocab:
            found.append(f"the vocabulary has {len(self.tokens)} tokens and the model {dims.n_vocab}")
        return found + self.settings.problems(dims.n_vocab, dims.n_text_layer, dims.n_text_head)


def checked_dimensions(dims: ModelDimensions, where: Path) -> ModelDimensions:
    """The dimensions themselves. Raises `ModelIntegrityError` if no model has such, before anything is allocated."""
    found = dims.problems()
    for name in dims.__slots__:
        value, limit = getattr(dims, name), _LIMITS[name.rpartition("_")[2]]
        if value > limit:
            found.append(f"{name} is {value}")
    if found:
        raise ModelIntegrityError(f"{where}: no model has such dimensions: {'; '.join(found)}")
    return dims


def require(problems: Sequence[str], where: Path) -> None:
    """Raise one `ModelIntegrityError` with all the problems, if there are any."""
    if problems:
        raise ModelIntegrityError(f"{where}: not a usable Whisper model: {'; '.join(problems)}")


def detect_format(path: Path) -> Format:
    """The format of a file or folder, by the files in it. Raises `ModelNotFoundError` or `ModelIntegrityError`."""
    if path.is_file():
        return "openai"
    if not path.is_dir():
        raise ModelNotFoundError(f"there is no model {path}")
    if (path / "model.bin").is_file():
        return "ctranslate2"
    if any(path.glob("*.safetensors")):
        return "huggingface"
    raise ModelIntegrityError(f"{path} holds neither model.bin nor safetensors; an OpenAI checkpoint is a file, *.pt")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any format. No code that a file may contain is run.

    Raises `ModelNotFoundError` if there is none, `ModelIntegrityError` for all that may be wrong with it, and
    `MissingExtraError` without torch.
    """
    kind = detect_format(path)
    with extras():
        if kind == "openai":
            from mtasr.checkpoints.openai import load
        elif kind == "huggingface":
            from mtasr.checkpoints.huggingface.format import load
        else:
            from mtasr.checkpoints.ctranslate2.format import load
        checkpoint = load(path)
    require(checkpoint.problems(), path)
    return checkpoint


def save_checkpoint(checkpoint: Checkpoint, path: Path, kind: Format, precision: Precision = "float32") -> None:
    """Write a checkpoint: a new file for `openai`, into an empty folder for the others.

    Not atomic; `mtasr.checkpoints.convert` is. Raises `ModelIntegrityError` if the checkpoint is not sound, and
    `ModelError` for a precision that the format does not have, or in which a weight is no longer finite.
    """
    if precision.startswith("int8") and kind != "ctranslate2":
        raise ModelError(f"the {kind} format does not store {precision}; use float32, float16 or bfloat16")
    require(checkpoint.problems(), path)
    with extras():
        if kind == "openai":
            from mtasr.checkpoints.openai import save
        elif kind == "huggingface":
            from mtasr.checkpoints.huggingface.format import save
        else:
            from mtasr.checkpoints.ctranslate2.format import save
        save(checkpoint, path, precision)
