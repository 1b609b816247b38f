"""A model whose encoder takes 6 s and whose decoder takes 128 tokens is used as any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak, write_wav
from training_model import DIMS, checkpoint, write_model

from mtasr.checkpoints.formats import save_checkpoint
from mtasr.errors import ModelError
from mtasr.transcribe import Model, load_model

SHORT = replace(DIMS, n_audio_ctx=300)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s in which somebody speaks nearly all the time."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    sentences = ["The old boat on the river has a new name, and nobody knows who wrote it there, or when."] * 4
    pause = np.zeros(SAMPLE_RATE // 5, np.float32)
    write_wav(path, np.concatenate([part for text in sentences for part in (speak(text), pause)]))
    return path


@pytest.fixture(scope="module", params=["ctranslate2", "torch"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("short")
    if request.param == "torch":
        return load_model(write_model(folder / "short.pt", SHORT), engine="torch", threads=1)
    save_checkpoint(checkpoint(dims=SHORT), folder / "model", "ctranslate2")
    return load_model(folder / "model", device="cpu", compute_type="float32", workers=1, threads=1)


def test_its_sizes_are_known(model: Model) -> None:
    assert (model.engine.limits.audio_seconds, model.engine.limits.max_length) == (6.0, 128)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "translate"},
        {"also_translate": True},
        {"vad_filter": False},
        {"condition_on_previous_text": True},
        {"language": None},
    ],
    ids=str,
)
def test_a_long_recording_is_decoded_in_windows_that_fit(
    model: Model, talk: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    encode = type(model.engine).encode

    def noted(engine, features):
        lengths.extend(each.shape[1] for each in features)
        return encode(engine, features)

    monkeypatch.setattr(type(model.engine), "encode", noted)  # of samplers, too
    settings = {"language": "es", "beam_size": 1, "temperature": (0.0,)} | changes
    transcript = model.transcribe(talk, **settings)
    assert transcript.duration == pytest.approx(20, abs=4)
    assert len(lengths) >= 4
    assert set(lengths) == {600}


def test_its_language_is_judged(model: Model, talk: Path) -> None:
    assert len(model.detect_language(talk)) > 90


def test_the_shortest_encoder(tmp_path: Path) -> None:
    """3 s are enough, 2 s are refused."""
    short, too_short = (
        write_model(tmp_path / f"{context}.pt", replace(DIMS, n_audio_ctx=context)) for context in (150, 100)
    )
    samples = speak("The old boat on the river has a new name.")
    transcript = load_model(short, engine="torch", threads=1).transcribe(
        samples, language="es", beam_size=1, temperature=(0.0,), vad_filter=False
    )
    assert transcript.duration == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.01)
    with pytest.raises(ModelError, match="takes 2 s of audio; at least 3"):
        load_model(too_short, engine="torch")


def test_an_encoder_is_shown_no_more_than_there_are_timestamps_for() -> None:
    assert replace(DIMS, n_audio_ctx=3000).audio_seconds == 30
