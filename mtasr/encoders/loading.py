"""From the name of an encoder to the encoder."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.checkpoints.formats import load_checkpoint
from mtasr.checkpoints.settings import read_json
from mtasr.errors import ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.extras import extras
from mtasr.models import registry
from mtasr.models.encoders import names_repo, resolve_encoder
from mtasr.models.hub import Progress
from mtasr.models.resolve import resolve
from mtasr.networks.dimensions import DIMENSIONS
from mtasr.networks.wave_config import WAVE_PRESETS

if TYPE_CHECKING:
    from mtasr.checkpoints.encoders import StoredEncoder
    from mtasr.networks.log_mel import LogMelEncoder
    from mtasr.networks.mfcc import MfccEncoder
    from mtasr.networks.speech_encoder import SpeechEncoder

LOG_MEL = "log-mel"
MFCC = "mfcc"
#: Precedes the name of an encoder whose architecture is taken, with new weights.
RANDOM = "random:"

#: Where runs leave their results: those of pre-training, those of `mtasr train`.
_RESULTS = ("encoder", "model", "model.pt")
_CONFIG = "config.json"
#: An encoder with neighbouring frames, such as log-mel+5.
_IN_CONTEXT = re.compile(r"(.+)\+([1-9]\d?)")


def load_encoder(name: str | Path, device: str = "auto", *, progress: Progress | None = None) -> SpeechEncoder:
    """An encoder by its name, on a device, in float32 and not in training mode. Its `name` is the one given.

    `name` is one of

    - a folder: an encoder in transformers' form (wav2vec 2.0, XLS-R, HuBERT, WavLM) or in one of ours; a Whisper model
      of any format that this program reads; a run of `mtasr pretrain` or `mtasr train`
    - `owner/name` or `owner/name@revision`: an encoder in transformers' form on the hub (`mtasr.models.encoders`)
    - a published Whisper model, such as `base`: its encoder
    - `log-mel` or `mfcc`: features without a network
    - `random:NAME`: the architecture of any of these with new weights, always the same ones. NAME may also be a preset
      (`WAVE_PRESETS`) that no Whisper model is called, such as `random:hubert-base`.
    - `NAME+5`: any of these, each frame with the 5 before and after it side by side (`mtasr.networks.context`)

    A name of the registry means a folder of the working directory only if that folder has a `config.json`. `device` is
    "auto", "cpu", "cuda" or "cuda:N"; `progress` hears of downloads.

    No code that a file may contain is run. Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelIntegrityError`,
    `ModelError` for an encoder of an unknown kind, `DeviceError`, `UsageError`, and `MissingExtraError` without torch.
    """
    around = None if isinstance(name, Path) or _exists(name) else _IN_CONTEXT.fullmatch(name)
    if around is not None:
        with extras():
            from mtasr.networks.context import ContextEncoder
        return ContextEncoder(load_encoder(around[1], device, progress=progress), int(around[2])).eval()
    with extras():
        from mtasr.engines.torch import torch_device

        place = torch_device(device)
        encoder = _made(name, progress)
    encoder.name = str(name)
    return encoder.to(place).eval()


def known_layers(name: str) -> int | None:
    """How many layers an encoder has, 0 for features, if that is known before it is loaded; None if it is not."""
    around = None if _exists(name) else _IN_CONTEXT.fullmatch(name)
    if around is not None:
        return known_layers(around[1])
    plain = name.removeprefix(RANDOM)
    spec = registry.find(plain)
    if plain in {LOG_MEL, MFCC}:
        return 0
    if _is_folder(plain):
        layers = read_json(Path(plain) / _CONFIG).get("num_hidden_layers")
        return layers if type(layers) is int else None
    if spec is not None and spec.name in DIMENSIONS:
        return DIMENSIONS[spec.name].n_audio_layer
    return WAVE_PRESETS[plain].layers if plain != name and plain in WAVE_PRESETS else None


def check_layer(name: str, layers: int, layer: int) -> None:
    """Raise `UsageError` if an encoder of so many layers has no such layer; a negative one counts from the end."""
    if not -layers - 1 <= layer <= layers:
        raise UsageError(f"{name} has the layers 0 to {layers}, and no layer {layer}")


def _made(name: str | Path, progress: Progress | None) -> StoredEncoder | LogMelEncoder | MfccEncoder:
    from mtasr.networks.log_mel import LogMelEncoder
    from mtasr.networks.mfcc import MfccEncoder

    if name == LOG_MEL:
        return LogMelEncoder()
    if name == MFCC:
        return MfccEncoder()
    if isinstance(name, str) and name.startswith(RANDOM):
        return _random(name.removeprefix(RANDOM), progress)
    return _loaded(_located(name, progress))


def _random(name: str, progress: Progress | None) -> StoredEncoder:
    from mtasr.checkpoints.encoders import fresh_encoder, fresh_twin
    from mtasr.networks.wave import WaveEncoder
    from mtasr.networks.whisper_encoder import WhisperEncoder

    spec = registry.find(name)
    if name in {LOG_MEL, MFCC}:
        raise UsageError(f"{name} features have no weights, so that {RANDOM}{name} would be the same")
    if not _is_folder(name):
        if spec is not None and spec.name in DIMENSIONS:
            return fresh_twin(WhisperEncoder, DIMENSIONS[spec.name].encoder)
        if spec is None and name in WAVE_PRESETS:
            return fresh_twin(WaveEncoder, WAVE_PRESETS[name])
    path = _located(name, progress)
    if _has_encoder(path):
        return fresh_encoder(path)
    whisper = _loaded(path)
    assert isinstance(whisper, WhisperEncoder)  # noqa: S101 - all others were told above
    return fresh_twin(WhisperEncoder, whisper.dims)


def _loaded(path: Path) -> StoredEncoder:
    from mtasr.checkpoints.encoders import read_encoder
    from mtasr.networks.whisper_encoder import WhisperEncoder

    if _has_encoder(path):
        return read_encoder(path)
    try:
        return WhisperEncoder.of(load_checkpoint(path).model)
    except ModelIntegrityError as exc:
        if path.is_dir():
            raise
        # Fairseq's files are pickles of its own classes, and its k-means models pickles of another program's.
        raise ModelIntegrityError(
            f"{exc}; of files, only Whisper models are read: an encoder must be a folder in transformers' form"
        ) from exc


def _has_encoder(path: Path) -> bool:
    """Whether a configuration says what kind of encoder it is; those of Whisper models in other formats do not."""
    return (path / _CONFIG).is_file() and "model_type" in read_json(path / _CONFIG)


def _located(name: str | Path, progress: Progress | None) -> Path:
    """The file or folder of an encoder, fetched first if necessary."""
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as exc:  # name too long, no permission, unknown user
        raise ModelNotFoundError(f"there is no encoder {name}: {getattr(exc, 'strerror', None) or exc}") from exc
    text = str(name)
    spec = registry.find(text) if isinstance(name, str) else None
    if spec is not None and not _is_folder(text):
        return resolve(text, progress=progress)
    if name and exists:
        results = [path / each for each in _RESULTS if (path / each).exists()]
        # Runs have a configuration too, which does not tell what kind of model they hold.
        return results[0] if results and not _has_encoder(path) else path
    if isinstance(name, str) and names_repo(name):
        return resolve_encoder(name, progress)
    if isinstance(name, Path) or os.sep in text or text.startswith((".", "~")):
        raise ModelNotFoundError(f"there is no encoder {name}")
    raise _unknown(text)


def _exists(name: str) -> bool:
    """Whether there is a file or folder of that name."""
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # name too long, no permission, unknown user
        return False


def _is_folder(name: str) -> bool:
    """Whether a name that may mean a published model means a folder."""
    return bool(name) and (Path(name) / _CONFIG).is_file()


def _unknown(name: str) -> ModelNotFoundError:
    if name in WAVE_PRESETS:
        return ModelNotFoundError(
            f"{name} is an architecture without weights: {RANDOM}{name} draws some; trained ones are on the hub, as "
            "in facebook/hubert-base-ls960"
        )
    known = [each for spec in registry.MODELS.values() for each in (spec.name, *spec.aliases)]
    close = difflib.get_close_matches(name, [*known, LOG_MEL, MFCC], n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return ModelNotFoundError(
        f"there is no encoder {name!r}{hint}; it may be a folder, OWNER/NAME on the hub, a Whisper model, {LOG_MEL}, "
        f"{MFCC} or {RANDOM}NAME"
    )
