"""The encoders that read the waveform and are trained from nothing: presets, and other sizes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from mtasr.errors import UsageError
from mtasr.networks.wave_config import WAVE_PRESETS, WaveConfig

#: Members of `WaveConfig` that are sizes.
_SIZES = frozenset(each.name for each in fields(WaveConfig) if each.type == "int")


def encoder_config(preset: str, sizes: Mapping[str, int], *, recurrent: bool) -> WaveConfig:
    """That of a preset with other sizes; `recurrent` says whether its states must depend on no later frame.

    Raises `UsageError` for a preset that does not exist or is of the other kind, and for sizes that do not fit.
    """
    known = [name for name, config in WAVE_PRESETS.items() if bool(config.recurrent) == recurrent]
    if preset not in known:
        raise UsageError(f"objective_options.preset must be one of {', '.join(known)}, not {preset!r}")
    for name in sizes:
        if name not in _SIZES:
            raise UsageError(f"objective_options.sizes cannot set {name!r}, but {', '.join(sorted(_SIZES))}")
    config = replace(WAVE_PRESETS[preset], **sizes)  # type: ignore[arg-type]
    if problems := config.problems():
        raise UsageError(f"objective_options.sizes: {'; '.join(problems)}")
    return config
