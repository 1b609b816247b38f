"""The configuration of a pre-training run: a preset of its objective, and the user's settings on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mtasr.errors import UsageError
from mtasr.training.config import TrainConfig, make_config, overridden, read_document
from mtasr.training.objectives import PRETRAINING

#: What `mtasr pretrain` calls some settings.
_SHORT = {"data": "data.train", "preset": "objective_options.preset"}

#: Settings of which only one may be set: that of a preset gives way to the user's.
_RIVALS = ("accumulation", "batches_per_step")


def pretrain_config(path: Path | None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The settings in a YAML file, if there is one, with overrides such as `optimizer.warmup=100` on top.

    Where they leave something out, the preset of the objective counts: the one that `objective_options.preset` (in
    overrides also `preset`) names, or its first. Raises `InputError` for a file that cannot be read, and `UsageError`.
    """
    document = overridden({} if path is None else read_document(path), map(_lengthened, overrides))
    kind = objective_class(document.get("objective"))
    data, options = document.get("data"), document.get("objective_options")
    if not data or (isinstance(data, Mapping) and not data.get("train")):
        raise UsageError("data is not set: name a folder of recordings, or records")
    name = options.get("preset") if isinstance(options, Mapping) else None
    if name is None:
        name = next(iter(kind.presets))
    elif name not in kind.presets:
        raise UsageError(f"preset must be one of {', '.join(kind.presets)}, not {name!r}")
    merged = _merged(kind.presets[name], document)
    merged["objective_options"] = {**merged.get("objective_options", {}), "preset": name}
    return make_config(merged)


def objective_class(name: object) -> type[Any]:
    """The class, with `presets`, that `PRETRAINING` has under a name. Raises `UsageError` if there is none."""
    found: Any = PRETRAINING.get(name) if isinstance(name, str) else None
    if found is None:
        given = "; none is set" if name is None else f", not {name!r}"
        raise UsageError(f"objective must be one of {', '.join(PRETRAINING)}{given}")
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = getattr(import_module(module), attribute)
    kind: type[Any] = found
    return kind


def _lengthened(override: str) -> str:
    name, mark, value = override.partition("=")
    return f"{_SHORT.get(name.strip(), name)}{mark}{value}"


def _merged(preset: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The preset with the settings of a document on top, down to single settings."""
    result = dict(preset)
    for name, value in document.items():
        if isinstance(value, Mapping) and isinstance(preset.get(name), Mapping):
            ours = {key: each for key, each in preset[name].items() if not _gives_way(key, value)}
            result[name] = {**ours, **value}
        else:
            result[name] = value
    return result


def _gives_way(name: str, settings: Mapping[str, Any]) -> bool:
    return name in _RIVALS and any(rival in settings for rival in _RIVALS)
