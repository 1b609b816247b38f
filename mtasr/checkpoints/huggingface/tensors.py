"""The contents of Hugging Face folders, as transformers reads and writes them: weights, configuration, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from mtasr.checkpoints import weights
from mtasr.checkpoints.checkpoint import Checkpoint, Precision, checked_dimensions
from mtasr.checkpoints.huggingface import files
from mtasr.checkpoints.huggingface.safetensors_files import WEIGHTS, contents, read
from mtasr.checkpoints.settings import default_settings
from mtasr.checkpoints.tensor_names import foreign_name
from mtasr.errors import ModelIntegrityError
from mtasr.networks.dimensions import ModelDimensions
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.vocabulary import VOCABULARY_FILES, read_vocabulary

#: The output projection, which some files store although it equals the embedding.
_PROJECTION = "proj_out.weight"


# Reading


def load(folder: Path) -> Checkpoint:
    dims = checked_dimensions(files.dimensions(folder), folder)
    names = {foreign_name(name, "huggingface"): name for name in weights.expected_shapes(dims)}
    found = contents(folder)
    shapes = {theirs: weights.expected_shapes(dims)[ours] for theirs, ours in names.items()}
    if _PROJECTION in found:
        shapes[_PROJECTION] = shapes[foreign_name("decoder.embedding.weight", "huggingface")]
    weights.check_headers(shapes, {name: tensor for name, (_, tensor) in found.items()}, folder)
    tensors = read(found, found)
    state = {ours: tensors[theirs] for theirs, ours in names.items()}
    if _PROJECTION in tensors and not tensors[_PROJECTION].equal(state["decoder.embedding.weight"]):
        raise ModelIntegrityError(f"{folder}: not a usable Whisper model: {_PROJECTION} is not the embedding")
    tokens = _tokens(folder, dims)
    settings = files.read_settings(folder, default_settings(tokens, dims.n_text_layer, dims.n_text_head))
    precision = weights.common_precision(tensor.dtype for _, tensor in found.values())
    return Checkpoint(weights.build(dims, state, folder), tokens, settings, precision)


def _tokens(folder: Path, dims: ModelDimensions) -> list[str]:
    if any((folder / name).is_file() for name in VOCABULARY_FILES):
        return read_vocabulary(folder)
    return files.read_tokens(folder, dims.n_vocab)


# Writing


def save(checkpoint: Checkpoint, folder: Path, precision: Precision) -> None:
    model, tokens = checkpoint.model, checkpoint.tokens
    state = weights.state_of(model, folder)
    names = {name: foreign_name(name, "huggingface") for name in state}
    tensors = {names[name]: weights.rounded(name, tensor, precision) for name, tensor in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(_ordinary_mode(folder))
    tokenizer = Tokenizer(tokens)
    tokenizer_json = files.tokenizer_json(tokens)
    specials = {each["content"]: each["id"] for each in files.added_tokens(tokens)}
    for name, document in {
        "config.json": files.config(model.dims, tokenizer, precision),
        "generation_config.json": files.generation_config(model.dims, tokenizer, checkpoint.settings),
        "preprocessor_config.json": files.preprocessor_config(model.dims),
        "tokenizer.json": tokenizer_json,
        "tokenizer_config.json": files.tokenizer_config(tokens),
        "vocab.json": tokenizer_json["model"]["vocab"],
        "added_tokens.json": {name: token for name, token in specials.items() if name != "<|endoftext|>"},
    }.items():
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    merges = ["#version: 0.2", *tokenizer_json["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")


def _ordinary_mode(folder: Path) -> int:
    """The mode of a new file; safetensors makes its files unreadable for other users."""
    probe = folder / "merges.txt"
    probe.touch()
    return probe.stat().st_mode & 0o777
