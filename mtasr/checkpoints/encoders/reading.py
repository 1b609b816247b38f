"""From a folder to an encoder: wav2vec 2.0, XLS-R, HuBERT, WavLM, CPC, or Whisper's encoder without its decoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from mtasr.checkpoints.encoders import own_settings, wave_names, wave_settings
from mtasr.checkpoints.encoders.stored import StoredTensors
from mtasr.checkpoints.encoders.wave_settings import require_encoder
from mtasr.checkpoints.settings import read_json
from mtasr.checkpoints.tensor_names import foreign_name as whisper_name
from mtasr.checkpoints.weights import header_problems
from mtasr.errors import ModelError
from mtasr.networks.log_mel import LogMel
from mtasr.networks.wave import WaveEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder

_T = TypeVar("_T")

#: What `read_encoder` reads and `save_encoder` writes.
StoredEncoder = WaveEncoder | WhisperEncoder

#: May be missing in files of transformers: a model without it masks nothing in training.
_MASKED = "masked"


class _Kind(NamedTuple):
    """How folders with one `model_type` are read."""

    #: The encoder that the configuration describes.
    made: Callable[[Path], StoredEncoder]
    #: The name in files for one of our tensors.
    foreign: Callable[[str], str]
    #: That name for the names of all tensors in a file, without those to leave out.
    canonical: Callable[[Iterable[str]], dict[str, str]]


def read_encoder(folder: Path, name: str | None = None) -> StoredEncoder:
    """The encoder in a folder, on the CPU, in float32 and not in training mode.

    Its `name` is that of the folder, if none is given. Heads beside the encoder are left out. No code that a file may
    contain is run. Raises `ModelIntegrityError` if anything in the folder is wrong, and `ModelError` for an encoder of
    a kind that this program does not have.
    """
    kind = _kind(folder)
    with torch.device("meta"):
        encoder = kind.made(folder)
    encoder.name = folder.name if name is None else name
    expected = {kind.foreign(ours): (ours, tuple(each.shape)) for ours, each in encoder.state_dict().items()}
    stored = StoredTensors(folder)
    names = kind.canonical(stored.headers)
    twice = [f"{name} is there twice" for name, count in Counter(names.values()).items() if count > 1]
    found = {canonical: stored.headers[name] for name, canonical in names.items()}
    lacking = {name for name, (ours, _) in expected.items() if ours == _MASKED and name not in found}
    shapes = {name: shape for name, (_, shape) in expected.items() if name not in lacking}
    require_encoder(twice + header_problems(shapes, found), folder)
    tensors = stored.read(list(names))
    state = {expected[canonical][0]: tensors[name] for name, canonical in names.items()}
    state |= {expected[name][0]: torch.zeros(expected[name][1]) for name in lacking}
    encoder.load_state_dict(state, assign=True)
    if isinstance(encoder, WhisperEncoder):
        encoder.mel = LogMel(encoder.dims.n_mels)  # it has values that no file holds
    return encoder.requires_grad_(True).eval()


def fresh_encoder(folder: Path, seed: int = 0) -> StoredEncoder:
    """The encoder that the configuration in a folder describes, with new random weights. Raises as `read_encoder`."""
    return fresh_twin(_kind(folder).made, folder, seed=seed)


def fresh_twin(made: Callable[[_T], StoredEncoder], config: _T, seed: int = 0) -> StoredEncoder:
    """What `made` makes of a configuration, with random weights that are always the same for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return made(config).eval()


def _kind(folder: Path) -> _Kind:
    model_type = read_json(folder / "config.json").get("model_type")
    if not isinstance(model_type, str) or model_type not in _KINDS:
        raise ModelError(f"{folder}: encoders of the type {model_type!r} are not read; known are {', '.join(_KINDS)}")
    return _KINDS[model_type]


def _wave(folder: Path) -> WaveEncoder:
    return WaveEncoder(wave_settings.read_config(folder), folder.name)


def _cpc(folder: Path) -> WaveEncoder:
    return WaveEncoder(own_settings.read_cpc_config(folder), folder.name)


def _whisper_encoder(folder: Path) -> WhisperEncoder:
    return WhisperEncoder(own_settings.read_encoder_dimensions(folder), folder.name)


def _whisper(folder: Path) -> WhisperEncoder:
    return WhisperEncoder(own_settings.read_whisper_dimensions(folder), folder.name)


def _same(stored: Iterable[str]) -> dict[str, str]:
    return {name: name for name in stored}


def _of_whisper(stored: Iterable[str]) -> dict[str, str]:
    """The names of the encoder's tensors in a whole model of transformers."""
    names = {name: name if name.startswith("model.") else f"model.{name}" for name in stored}
    return {name: whole for name, whole in names.items() if not whole.startswith(("model.decoder.", "model.proj_out."))}


_WAVE = _Kind(_wave, wave_names.foreign_name, wave_names.canonical_names)
_KINDS: dict[str, _Kind] = {
    **dict.fromkeys(wave_names.FAMILIES, _WAVE),
    own_settings.CPC: _Kind(_cpc, str, _same),
    own_settings.WHISPER_ENCODER: _Kind(_whisper_encoder, str, _same),
    "whisper": _Kind(_whisper, lambda ours: whisper_name(ours, "huggingface"), _of_whisper),
}
