"""The vocabulary of a checkpoint that has none: from a file beside it, or from an installed weights package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mtasr.checkpoints.huggingface.files import read_tokens
from mtasr.checkpoints.settings import GenerationSettings, default_settings, read_json, token_ids
from mtasr.errors import ModelError
from mtasr.extras import install_extra
from mtasr.models import packages
from mtasr.networks.dimensions import DIMENSIONS, ModelDimensions
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.vocabulary import VOCABULARY_FILES, read_vocabulary

#: Size of a vocabulary -> the weights package that has it, or one that differs by a few tokens.
_PACKAGES = {
    DIMENSIONS["base"].n_vocab: "base",
    DIMENSIONS["large-v3"].n_vocab: "base",
    DIMENSIONS["tiny.en"].n_vocab: "tiny.en",
}


def vocabulary_for(checkpoint: Path, dims: ModelDimensions) -> tuple[list[str], GenerationSettings]:
    """Tokens and settings for a checkpoint file. Raises `ModelError` if no vocabulary fits."""
    beside = checkpoint.parent
    if any((beside / name).is_file() for name in VOCABULARY_FILES):
        tokens = read_vocabulary(beside)
    elif (beside / "tokenizer.json").is_file():
        tokens = read_tokens(beside, dims.n_vocab)
    else:
        return _packaged(checkpoint, dims)
    if len(tokens) != dims.n_vocab:
        raise ModelError(
            f"the vocabulary beside {checkpoint} has {len(tokens)} tokens and the model {dims.n_vocab}; put the "
            "right vocabulary.json there"
        )
    return tokens, default_settings(tokens, dims.n_text_layer, dims.n_text_head)


def _packaged(checkpoint: Path, dims: ModelDimensions) -> tuple[list[str], GenerationSettings]:
    name = _PACKAGES.get(dims.n_vocab)
    files = packages.locate(name) if name else None
    if not files:
        way = f", or {install_extra('base')}" if name == "base" else ""
        raise ModelError(
            f"{checkpoint} has no vocabulary, and no known one has {dims.n_vocab} tokens: put its "
            f"vocabulary.json or tokenizer.json beside it{way}"
        )
    tokens = read_vocabulary(files["vocabulary.txt"][0].parent)
    if dims.n_vocab == DIMENSIONS["large-v3"].n_vocab:
        tokens = as_large_v3(tokens)
    settings = default_settings(tokens, dims.n_text_layer, dims.n_text_head)
    # The text part is the same, and so are the symbols that are never spoken.
    config = files["config.json"][0]
    end = Tokenizer(tokens).eot
    symbols = (token for token in token_ids(read_json(config), "suppress_ids", config) if token < end)
    return tokens, replace(settings, suppress_ids=(*symbols, *settings.suppress_ids))


def as_large_v3(tokens: list[str]) -> list[str]:
    """The vocabulary of large-v3: that of earlier models with Cantonese added and one token renamed."""
    renamed = ["<|nospeech|>" if token == "<|nocaptions|>" else token for token in tokens]  # noqa: S105
    place = renamed.index("<|translate|>")
    return [*renamed[:place], "<|yue|>", *renamed[place:]]
