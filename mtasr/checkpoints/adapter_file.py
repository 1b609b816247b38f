"""Adapters and trained prompts of a task as one small file, without the model that they belong to.

A safetensors file, in whose header `mtasr` is a JSON object:

    version   1
    method    houlsby, prefix or prompt
    size      width of the bottlenecks, vectors of a prefix, or tokens of the prompt
    model     the model that was adapted, by name or path
    weights   a digest of all weights and the settings of that model (`weights_digest`)
    tokens    for a prompt: the ids that its tokens take in the vocabulary

Its tensors are those of `mtasr.networks.adapters.Adapters`, or `vectors` (tokens, width). Nothing in it is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mtasr.atomic import check_replaceable, write_file
from mtasr.checkpoints import weights
from mtasr.checkpoints.checkpoint import Checkpoint, require
from mtasr.checkpoints.convert import locate
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.huggingface.safetensors_files import headers
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.networks.adapters import AdapterKind, Adapters, adapt
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.prompt_tokens import renamed

AdapterMethod = Literal["houlsby", "prefix", "prompt"]

_OURS, _VERSION = "mtasr", 1
_VECTORS = "vectors"
#: No adapter is so large: sizes of tensors beyond it would not even be numbers.
_LARGEST = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterNote:
    """What an adapter file says beside its tensors."""

    method: AdapterMethod
    size: int
    model: str
    weights: str
    tokens: tuple[int, ...] = ()


def weights_digest(network: nn.Module) -> str:
    """A hash of settings, names, shapes and all values of a network without its adapters, the same on any device."""
    settings = getattr(network, "config", None) or getattr(network, "dims", "")
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(network.state_dict().items()):
        if name.startswith("adapters."):
            continue
        values = tensor.detach().cpu().float().contiguous()
        digest.update(repr((name, tuple(tensor.shape))).encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


# Adapters beside any network


def save_adapters(adapters: Adapters, network: nn.Module, path: Path, model: str) -> None:
    """Write the adapters of a network that `model` names. Raises `OutputError`."""
    note = AdapterNote(method=adapters.kind, size=adapters.size, model=model, weights=weights_digest(network))
    _write(path, note, adapters.state_dict())


def load_adapters(path: Path, network: nn.Module) -> Adapters:
    """The adapters in a file, on the device of the network, for `Adapters.attach` to it.

    Raises `ModelNotFoundError`, `ModelIntegrityError` for a damaged file, and `ModelError` if it belongs to another
    network or is a prompt.
    """
    note = read_note(path)
    if note.method == "prompt":
        raise ModelError(f"{path} is a trained prompt, which only a recogniser can have")
    _require_same(path, note, network)
    return _adapters(path, note.method, note.size, network)


def _adapters(path: Path, kind: AdapterKind, size: int, network: nn.Module) -> Adapters:
    with torch.device("meta"):  # so that nothing is allocated before the sizes are checked
        adapters = Adapters(network, kind, size)
    shapes = {name: tuple(tensor.shape) for name, tensor in adapters.state_dict().items()}
    adapters.load_state_dict(_tensors(path, shapes), assign=True)
    return adapters.to(next(network.parameters()).device)


# The recogniser


def save_prompt(vectors: Tensor, tokens: tuple[int, ...], network: nn.Module, path: Path, model: str) -> None:
    """Write a prompt: `vectors` (tokens, width) and the places of its tokens in the vocabulary.

    `network` is the model before it had the prompt. Raises `OutputError`.
    """
    digest = weights_digest(network)
    note = AdapterNote(method="prompt", size=len(tokens), model=model, weights=digest, tokens=tokens)
    _write(path, note, {_VECTORS: vectors})


def load_adapted(path: Path) -> Checkpoint:
    """The model that a file belongs to, with its adapters attached, or with its prompt in the vocabulary.

    Only torch runs a model with adapters. One with a prompt is a model as any other. Raises `ModelError` if the model
    has other weights than the one that was adapted, `ModelIntegrityError` for a damaged file, and what loading the
    model raises.
    """
    note = read_note(path)
    try:
        base = load_checkpoint(locate(note.model))
    except ModelNotFoundError as exc:
        raise ModelNotFoundError(f"{path} needs the model {note.model} that it was trained on: {exc}") from exc
    _require_same(path, note, base.model)
    if note.method != "prompt":
        adapt(base.model, _adapters(path, note.method, note.size, base.model))
        return base
    embedding = base.model.decoder.embedding
    end = Tokenizer(base.tokens).eot
    if len(note.tokens) != note.size or len({*note.tokens} & {*range(end)}) != note.size:
        raise ModelIntegrityError(f"{path}: tokens are not {note.size} different text tokens")
    vectors = _tensors(path, {_VECTORS: (note.size, embedding.weight.shape[1])})[_VECTORS]
    with torch.no_grad():
        embedding.weight[list(note.tokens)] = vectors
    return replace(base, tokens=renamed(base.tokens, note.tokens), settings=base.settings.without(note.tokens))


# The file


def read_note(path: Path) -> AdapterNote:
    """What a file says. Raises `ModelNotFoundError`, and `ModelIntegrityError` for any other file."""
    if not path.is_file():
        raise ModelNotFoundError(f"there is no adapter file {path}")
    try:
        with safe_open(path, framework="pt") as stream:
            text = (stream.metadata() or {}).get(_OURS)
        document = json.loads(text or "")
    except (OSError, SafetensorError, ValueError, RecursionError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a file of adapters") from exc
    problem = _problem(document)
    if problem:
        raise ModelIntegrityError(f"{path} is not a file of adapters that this version reads: {problem}")
    return AdapterNote(
        **{name: document[name] for name in ("method", "size", "model", "weights")}, tokens=tuple(document["tokens"])
    )


def _problem(document: Any) -> str | None:
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        return "another version"
    checks = {
        "method": document.get("method") in get_args(AdapterMethod),
        "size": type(document.get("size")) is int and 1 <= document["size"] <= _LARGEST,
        "model": isinstance(document.get("model"), str) and "\0" not in document["model"],
        "weights": isinstance(document.get("weights"), str),
        "tokens": isinstance(document.get("tokens"), list) and all(type(each) is int for each in document["tokens"]),
    }
    return next((f"{name} is wrong" for name, fine in checks.items() if not fine), None)


def _require_same(path: Path, note: AdapterNote, network: nn.Module) -> None:
    if weights_digest(network) != note.weights:
        raise ModelError(f"{path} does not fit this model: it was trained on other weights, those of {note.model} then")


def _write(path: Path, note: AdapterNote, tensors: Mapping[str, Tensor]) -> None:
    document = json.dumps({"version": _VERSION, **asdict(note)})
    plain = {name: tensor.detach().cpu().float().contiguous() for name, tensor in tensors.items()}
    content = save(plain, metadata={_OURS: document})
    check_replaceable(path)
    write_file(path, lambda passing: passing.write_bytes(content))


def _tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a file in float32, which must be these. Raises `ModelIntegrityError`."""
    require(weights.header_problems(shapes, headers(path)), path, "adapters for this model")
    with safe_open(path, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name).float() for name in shapes}
    wrong = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    require([f"{name} holds values that are not finite" for name in wrong], path, "adapters")
    return tensors
