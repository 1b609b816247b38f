"""Who speaks when in a recording, without its text."""

from __future__ import annotations

import importlib
import threading

from mtasr.models import Progress
from mtasr.speakers.diarized import Diarizes

_loading = threading.Lock()
_loaded: list[Diarizes] = []


def load_diarizer(progress: Progress | None = None) -> Diarizes:
    """What tells speakers apart, loaded once for all models; its weights are downloaded the first time.

    `progress(file, bytes_done, bytes_total)` follows a download. Raises `ModelError`.
    """
    with _loading:
        if not _loaded:
            weights = importlib.import_module("mtasr.speakers.weights")
            diarizer = importlib.import_module("mtasr.speakers.diarizer")
            _loaded.append(diarizer.Diarizer(*weights.load_speaker_models(progress=progress)))
        return _loaded[0]
