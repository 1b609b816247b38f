"""The JSON files beside `model.bin` in a CTranslate2 folder: settings and vocabulary. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mtasr.checkpoints.huggingface.files import preprocessor_config, tokenizer_json
from mtasr.checkpoints.settings import OURS, GenerationSettings, ours, plain, read_json
from mtasr.networks.dimensions import ModelDimensions


def write_documents(
    folder: Path,
    tokens: Sequence[str],
    settings: GenerationSettings,
    dims: ModelDimensions,
    *,
    optimized_for: Sequence[str] = (),
) -> None:
    """Write the files. `optimized_for`: the languages that the vocabulary was cut down to."""
    config = dict(sorted(plain(settings).items()))
    own: dict[str, object] = {"languages": list(optimized_for)} if optimized_for else {}
    if config.pop("variable_length"):
        own["variable_length"] = True
    if own:
        config[OURS] = own
    _write_json(folder / "config.json", config)
    _write_json(folder / "vocabulary.json", tokens)
    # Only for faster-whisper, which would download missing ones from a model hub.
    _write_json(folder / "tokenizer.json", tokenizer_json(tokens))
    _write_json(folder / "preprocessor_config.json", preprocessor_config(dims))


def optimized_for(folder: Path) -> tuple[str, ...]:
    """The languages that `optimize` cut the vocabulary down to; empty for a whole vocabulary."""
    languages = ours(read_json(folder / "config.json")).get("languages")
    return tuple(map(str, languages)) if isinstance(languages, list) else ()


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
