"""Engines by model: from a folder, a name or a checkpoint to what runs the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtasr import system
from mtasr.engines.engine import Engine
from mtasr.extras import extras
from mtasr.models import Progress, resolve
from mtasr.models.fingerprint import fingerprint
from mtasr.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mtasr.engines.ctranslate2 import CTranslate2Engine


def ctranslate2_engine(folder: Path, settings: dict[str, Any]) -> tuple[Engine, Callable[[], str]]:
    """The engine for a model folder, and what returns its fingerprint; `settings` are those of the engine."""
    from mtasr.checkpoints.ctranslate2.info import checked_folder
    from mtasr.engines.ctranslate2 import CTranslate2Engine
    from mtasr.models import int8_copy

    dims, _, tokens, generation = checked_folder(folder)
    engine = CTranslate2Engine(
        folder,
        dims=dims,
        tokens=tokens,
        variable_length=generation.variable_length,
        reliable_alignment=generation.has_reliable_alignment(dims),
        int8_copy=partial(int8_copy.provide, folder),
        **settings,
    )
    if engine.folder == folder and (engine.device, engine.compute_type) == ("cpu", "int8"):
        int8_copy.make_later(folder)
    return engine, partial(fingerprint, folder, *way_of_computing(engine))


def way_of_computing(engine: CTranslate2Engine) -> tuple[str, ...]:
    """Device, precision and range of int8: on these, results depend as on the model."""
    return engine.device, engine.compute_type, str(system.largest_weight())


def torch_engine(
    name: str | Path, settings: dict[str, Any], progress: Progress | None
) -> tuple[Engine, Callable[[], str]]:
    """The same with torch, for a model by name, a folder or a checkpoint, downloaded if need be."""
    with extras():
        from mtasr.engines.torch import TorchEngine
    from mtasr.checkpoints.formats import load_checkpoint

    source = Path(name) if _is_checkpoint(Path(name)) else resolve(name, progress=progress)
    checkpoint = load_checkpoint(source)
    engine = TorchEngine(
        checkpoint.model,
        Tokenizer(checkpoint.tokens),
        suppress_ids=checkpoint.settings.suppress_ids,
        suppress_ids_begin=checkpoint.settings.suppress_ids_begin,
        alignment_heads=checkpoint.settings.alignment_heads,
        variable_length=checkpoint.settings.variable_length,
        reliable_alignment=checkpoint.settings.has_reliable_alignment(checkpoint.model.dims),
        **settings,
    )
    return engine, partial(fingerprint, source, "torch", str(engine.model.device), settings["compute_type"])


def _is_checkpoint(path: Path) -> bool:
    """Whether this is a checkpoint that CTranslate2 cannot load and `resolve` does not know."""
    return path.is_file() or (any(path.glob("*.safetensors")) and not (path / "model.bin").exists())
