"""A checkpoint, a Whisper model with its vocabulary and generation settings, and what every format of it offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

from mtasr.checkpoints.settings import GenerationSettings
from mtasr.errors import ModelIntegrityError
from mtasr.tokenizer.tokenizer import prompt_tokens

if TYPE_CHECKING:
    from mtasr.arrays import Float32Array
    from mtasr.checkpoints.parity_clip import Rules, Runner
    from mtasr.networks.dimensions import ModelDimensions
    from mtasr.networks.whisper import Whisper

#: How tensors are stored. int8 is for matrices, in formats that have it; the part after it is for all other tensors.
Precision = Literal["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# Far above any published model; a header that asks for more is damaged.
_LIMITS = {"mels": 4096, "ctx": 1 << 20, "state": 1 << 16, "head": 1 << 12, "layer": 512, "vocab": 1 << 24}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in float32, its tokens by id, its settings, and the precision of the file it was read from."""

    model: Whisper
    tokens: list[str]
    settings: GenerationSettings
    precision: Precision = "float32"

    def problems(self) -> list[str]:
        """Where model, vocabulary and settings contradict each other."""
        dims, found = self.model.dims, []
        if len(self.tokens) != dims.n_vocab:
            found.append(f"the vocabulary has {len(self.tokens)} tokens and the model {dims.n_vocab}")
        found += prompt_problems(self.tokens, dims.n_text_ctx)
        return found + self.settings.problems(dims.n_vocab, dims.n_text_layer, dims.n_text_head)


def prompt_problems(tokens: Sequence[str], n_text_ctx: int) -> list[str]:
    """Whether a vocabulary has a trained prompt that leaves little room for text: more than a quarter of the context.

    Half of the context is for what is given, and half of that for a prefix.
    """
    count = len(prompt_tokens(tokens))
    return [f"the prompt of {count} tokens exceeds a quarter of {n_text_ctx}"] if count > n_text_ctx // 4 else []


class Summary(NamedTuple):
    """What `mtasr models info` shows of a checkpoint."""

    dims: ModelDimensions
    precision: Precision
    tokens: list[str]
    #: Codes of the languages that `mtasr models optimize` cut the vocabulary down to; empty for a whole vocabulary.
    optimized_for: tuple[str, ...] = ()


class Format(Protocol):
    """One way to store checkpoints. `mtasr.checkpoints.formats` says how to add another.

    Subclasses give `name`, `looks`, `detects`, `load` and `save`, and whatever differs from the defaults.
    The command line reads this list at every start, so a format's module imports torch inside its methods only.
    """

    #: The value of `--format`.
    name: str
    #: Its files in a few words, for error messages.
    looks: str
    #: The ending of its file, with the dot. A format without an ending is a folder.
    ending: str = ""
    #: Names of the files in such a folder: `--force` replaces a folder that holds no others.
    files: frozenset[str] = frozenset()
    stores_int8: bool = False

    def detects(self, path: Path) -> bool:
        """Whether this file or folder, which exists, seems to be in this format. Formats are asked in their order."""

    def load(self, path: Path) -> Checkpoint:
        """Read a checkpoint. Code in the file must never run. Raises `ModelIntegrityError`."""

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        """Write a checkpoint to a path that is free. Raises `ModelError` for values the precision cannot hold."""

    def summary(self, path: Path) -> Summary | None:
        """What can be told without torch; None if the checkpoint must be loaded. Raises `ModelIntegrityError`."""
        return None

    def runner(self, path: Path, precision: Precision, mel: Float32Array, rules: Rules, context: int) -> Runner | None:
        """The program that runs models of this format, with features to hear; None if that is torch."""
        return None


def checked_dimensions(dims: ModelDimensions, where: Path) -> ModelDimensions:
    """The dimensions themselves. Raises `ModelIntegrityError` for impossible ones, before anything is allocated."""
    found = dims.problems()
    for name in dims.__slots__:
        value, limit = getattr(dims, name), _LIMITS[name.rpartition("_")[2]]
        if value > limit:
            found.append(f"{name} is {value}")
    if found:
        raise ModelIntegrityError(f"{where}: no model has such dimensions: {'; '.join(found)}")
    return dims


def require(problems: Sequence[str], where: Path, what: str = "a usable Whisper model") -> None:
    """Raise one `ModelIntegrityError` that lists all the problems, if there are any."""
    if problems:
        raise ModelIntegrityError(f"{where}: not {what}: {'; '.join(problems)}")
