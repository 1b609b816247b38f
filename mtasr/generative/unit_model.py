"""A trained language model over units, in a folder, and what it does: continue speech, and say how likely it is.

    config.json         the sizes of the network, and how many units there are
    model.safetensors   its weights, float32
    centres.npz         the centres of the units and the encoder that they are for, if the run knew them

A sequence of units stands between two tokens that are no unit (`UnitModel.end`), as in fairseq.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mtasr.checkpoints.destination import staged
from mtasr.checkpoints.settings import read_json
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import Progress
from mtasr.engines.torch import torch_device
from mtasr.errors import InputError, ModelIntegrityError, ModelNotFoundError, OutputError, UsageError
from mtasr.generative.sampling import Sampling, continuations
from mtasr.generative.transformer import CausalTransformer, TransformerSizes
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.pretraining.units.kmeans import MOST_UNITS, UnitCentres, read_centres
from mtasr.pretraining.units.spoken_units import check_fit, spoken_units
from mtasr.probing.states import identity_of

#: The folder of a run that has its result.
FOLDER = "unit-lm"
_KIND = "unit_lm"
_CONFIG, _WEIGHTS, _CENTRES = "config.json", "model.safetensors", "centres.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitModel:
    """A language model over the units 0 to `units` - 1."""

    network: CausalTransformer
    units: int
    centres: UnitCentres | None = None

    @property
    def end(self) -> int:
        """The token before and after each sequence."""
        return self.units

    @property
    def device(self) -> torch.device:
        return self.network.embedding.weight.device

    @cached_property
    def encoder(self) -> SpeechEncoder:
        """The encoder whose states are the units. Raises `UsageError` if it is unknown or does not fit."""
        if self.centres is None:
            raise UsageError("the model was trained on units without their centres, and cannot hear; name the centres")
        if not self.centres.encoder:
            raise UsageError("the centres do not say which encoder they are for")
        encoder = load_encoder(self.centres.encoder, str(self.device))
        check_fit(self.centres, encoder, identity=identity_of(encoder))
        return encoder

    def with_centres(self, centres: UnitCentres) -> UnitModel:
        """The same model for these centres. Raises `UsageError` if there are more or fewer of them than units."""
        if centres.units != self.units:
            raise UsageError(f"there are {centres.units} centres, and the model knows {self.units} units")
        return replace(self, centres=centres)

    def heard(self, source: str, *, audio_stream: int = 0, progress: Progress | None = None) -> tuple[list[int], float]:
        """The joined units of a recording, and its seconds.

        Raises what `extract` raises, and `UsageError` as `encoder` does.
        """
        encoder = self.encoder
        assert self.centres is not None  # noqa: S101 - for the type checker
        found = list(spoken_units(encoder, self.centres, source, audio_stream=audio_stream, progress=progress))
        return [each.unit for each in found], found[-1].end if found else 0.0

    def continuations(self, prompt: Sequence[int], count: int, most: int, how: Sampling) -> list[list[int]]:
        """`count` continuations, up to `most` joined units each, of a prompt of joined units.

        No unit follows itself. If the prompt is too long for the context of the model, its last units count. Raises
        `UsageError` if there is no room for `most`, and `InputError` for numbers that are no units.
        """
        self._check(prompt)
        room = self.network.sizes.context - most - 1
        if room < 0:
            raise UsageError(f"the model reads {self.network.sizes.context} tokens; {most} new units leave no room")
        prefix = [self.end, *prompt] if len(prompt) <= room else list(prompt)[-room - 1 :]
        return continuations(self.network, prefix, count, most, self.end, how, repeats=False)

    @torch.inference_mode()
    def log_probability(self, units: Sequence[int]) -> float:
        """The natural logarithm of the probability of a whole sequence of joined units, its end included.

        Raises `UsageError` for one that is longer than the context of the model, `InputError` as `continuations` does.
        """
        self._check(units)
        tokens = torch.tensor([self.end, *units, self.end], device=self.device)
        expected = self.network(tokens[None, :-1])[0].double().log_softmax(dim=1)  # (T, V)
        return float(expected.gather(1, tokens[1:, None]).sum())

    def save(self, folder: Path) -> None:
        """Write the folder, all or nothing, in place of a model that is there.

        Raises `OutputError`, also for a folder that holds anything else.
        """
        others = sorted({each.name for each in folder.glob("*")} - {_CONFIG, _WEIGHTS, _CENTRES})
        if others:
            raise OutputError(f"{folder} holds more than a model ({others[0]}) and is not replaced; remove it first")
        document = {"kind": _KIND, "units": self.units, **asdict(self.network.sizes)}
        with staged(folder, force=True) as staging:
            staging.mkdir()
            (staging / _CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            save_file(
                {name: each.float().cpu() for name, each in self.network.state_dict().items()}, staging / _WEIGHTS
            )
            (staging / _WEIGHTS).chmod((staging / _CONFIG).stat().st_mode & 0o777)
            if self.centres is not None:
                self.centres.save(staging / _CENTRES)

    def _check(self, units: Sequence[int]) -> None:
        wrong = [unit for unit in units if not 0 <= unit < self.units]
        if wrong:
            raise InputError(f"{wrong[0]} is no unit from 0 to {self.units - 1}")


def load_unit_model(path: str | Path, device: str = "auto") -> UnitModel:
    """The model of a run of `mtasr pretrain objective=unit_lm`, or in the folder of one.

    Raises `ModelNotFoundError`, and `ModelIntegrityError` for files that are damaged or do not fit.
    """
    folder = Path(path)
    if (folder / FOLDER / _CONFIG).is_file():
        folder = folder / FOLDER
    if not (folder / _CONFIG).is_file():
        raise ModelNotFoundError(f"{path}: holds no language model over units; `mtasr pretrain objective=unit_lm` does")
    document = read_json(folder / _CONFIG)
    units = document.get("units")
    names = {each.name for each in fields(TransformerSizes)}
    if document.get("kind") != _KIND or document.keys() != names | {"kind", "units"}:
        raise ModelIntegrityError(f"{folder / _CONFIG} does not describe a language model over units")
    try:
        sizes = TransformerSizes(**{name: document[name] for name in names})
    except UsageError as exc:
        raise ModelIntegrityError(f"{folder / _CONFIG}: {exc}") from exc
    if type(units) is not int or not 1 <= units <= MOST_UNITS or sizes.vocabulary != units + 1:
        raise ModelIntegrityError(f"{folder / _CONFIG}: vocabulary must be one more than units")
    centres = read_centres(folder / _CENTRES) if (folder / _CENTRES).exists() else None
    if centres is not None and centres.units != units:
        raise ModelIntegrityError(f"{folder / _CENTRES}: there are {centres.units} centres for {units} units")
    network = _network(folder / _WEIGHTS, sizes)
    return UnitModel(network=network.to(torch_device(device)).eval(), units=units, centres=centres)


def _network(path: Path, sizes: TransformerSizes) -> CausalTransformer:
    """Raises `ModelIntegrityError` unless the file has just the weights of a network of these sizes."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a safetensors file: {exc}") from exc
    with torch.device("meta"):  # so that sizes which are not those of the file take no memory
        network = CausalTransformer(sizes)
    wanted = network.state_dict()
    wrong = sorted(name for name in {*wanted, *found} if _shape(wanted, name) != _shape(found, name))
    if wrong:
        raise ModelIntegrityError(f"{path} does not fit its config.json: {', '.join(wrong[:3])}")
    if not all(math.isfinite(float(tensor.sum())) for tensor in found.values()):
        raise ModelIntegrityError(f"{path}: has weights that are not finite")
    network.load_state_dict({name: tensor.float() for name, tensor in found.items()}, assign=True)
    return network


def _shape(state: dict[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def shuffled_blocks(units: Sequence[int], size: int, rng: np.random.Generator) -> list[int]:
    """The same units in blocks of `size` that come in another order: what a model must find less likely.

    Where two equal units meet, one is left out, so that this cannot be told by runs.
    """
    blocks = [list(units[start : start + size]) for start in range(0, len(units), size)]
    mixed = [unit for number in rng.permutation(len(blocks)) for unit in blocks[number]]
    return [unit for place, unit in enumerate(mixed) if not place or unit != mixed[place - 1]]
