"""The voice around its network: phrases, pauses, silence, speed; what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtasr.errors import ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.models.folder import DICTIONARY, DICTIONARY_RARE, PHONEMES, SPEECH_ONNX, STYLES
from mtasr.models.voices import VOICE_MODELS
from mtasr.speech import kokoro
from mtasr.speech.kokoro import RATE, KokoroVoice, trimmed
from mtasr.speech.phonemes.dictionary import Dictionary
from mtasr.speech.phonemes.english import EnglishPhonemes
from mtasr.speech.phonemes.letters import LetterNetwork
from mtasr.speech.voice import DEFAULT_VOICE, Speech, load_voice, voice_names

_NUMBERS = {each: at for at, each in enumerate("abcdefgh .,!", 1)}
_WORDS = {each: each for each in ("ab", "cd", "efgh")}


class Session:
    """A tenth of a second for each phoneme, with silence before and after."""

    def __init__(self) -> None:
        self.inputs: list[dict[str, np.ndarray]] = []

    def run(self, wanted: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.inputs.append(inputs)
        seconds = 0.1 * (inputs["tokens"].shape[1] - 2) / inputs["speed"][0]
        silence = np.zeros(RATE // 2, np.float32)
        return [np.concatenate([silence, np.full(round(seconds * RATE), 0.5, np.float32), silence])]


@pytest.fixture
def session() -> Session:
    return Session()


class Opened:
    """Stands in for an `OnnxSession`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, values: dict[str, np.ndarray]) -> np.ndarray:
        return self._session.run(None, values)[0]


def _voice(session: Session, longest: int = 20) -> KokoroVoice:
    styles = np.repeat(np.arange(1, longest + 1, dtype=np.float32)[:, None], 256, axis=1)
    return KokoroVoice(
        "fake", Opened(session), EnglishPhonemes(Dictionary(_WORDS, {}), LetterNetwork({})), _NUMBERS, styles
    )


def test_what_the_network_gets(session: Session) -> None:
    _voice(session).say("Ab cd!", 1.5)
    (inputs,) = session.inputs
    assert inputs["tokens"].tolist() == [[0, 1, 2, 9, 3, 4, 12, 0]]
    assert inputs["style"].shape == (1, 256)
    assert set(inputs["style"].ravel()) == {6}  # that of six phonemes
    assert inputs["speed"] == np.float32(1.5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Ab.", 0.3),
        ("Ab. Cd.", 0.3 + 0.3 + 0.3),
        ("Ab cd ab cd ab cd ab cd.", 2.0 + 0.1 + 0.3),  # 20 phonemes at most, so the last word is said by itself
        ("", 0),
        ("... 猫", 0),
    ],
)
def test_seconds(session: Session, text: str, seconds: float) -> None:
    speech = _voice(session).say(text)
    edges = 0.04 * len(session.inputs)
    assert speech.seconds == pytest.approx(seconds + edges, abs=0.001)
    assert speech.samples.dtype == np.float32


def test_speed_shortens_pauses_too(session: Session) -> None:
    assert _voice(session).say("Ab. Cd.", 2).seconds == pytest.approx(0.45 + 2 * 0.04, abs=0.001)
    for speed in (0.4, 2.1, float("nan")):
        with pytest.raises(UsageError, match="speed must be from"):
            _voice(session).say("Ab.", speed)


def test_silence_at_the_edges_is_cut_off() -> None:
    sound = np.zeros(RATE, np.float32)
    assert len(trimmed(sound)) == 0
    assert len(trimmed(sound[:0])) == 0
    sound[1000:2000] = 0.1
    sound[500] = 0.0005  # too quiet to count
    assert len(trimmed(sound)) == 1000 + 2 * 480


def test_names() -> None:
    assert DEFAULT_VOICE in voice_names()
    with pytest.raises(ModelNotFoundError, match="no voice 'jm_kumu'; did you mean jm_kumo"):
        load_voice("jm_kumu")
    with pytest.raises(ModelNotFoundError, match="no voice ''"):
        load_voice("jm_kumo+")


def _folder(folder: Path, **files: bytes) -> Path:
    np.savez(folder / STYLES, one=np.ones((4, 1, 256)), two=np.full((4, 1, 256), 3), short=np.ones((4, 100)))
    (folder / PHONEMES).write_text(json.dumps({"vocab": _NUMBERS}))
    (folder / DICTIONARY).write_text(json.dumps(_WORDS))
    (folder / DICTIONARY_RARE).write_text("{}")
    (folder / SPEECH_ONNX).write_bytes(b"a network")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _load(folder: Path, monkeypatch: pytest.MonkeyPatch, parts: list[str], session: Any = None) -> KokoroVoice:
    import onnxruntime

    monkeypatch.setattr(kokoro, "resolve", lambda name, **_: folder)
    monkeypatch.setattr(
        EnglishPhonemes, "read", lambda folder: EnglishPhonemes(Dictionary(_WORDS, {}), LetterNetwork({}))
    )
    if session is not None:
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)
    return KokoroVoice.load(VOICE_MODELS["kokoro"], parts, "name")


class _Loaded(Session):
    class _Named:
        def __init__(self, name: str) -> None:
            self.name, self.type = name, "tensor(float)"

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names or ("tokens", "style", "speed")

    def get_inputs(self) -> list[_Named]:
        return [self._Named(each) for each in self._names]

    def get_outputs(self) -> list[_Named]:
        return [self._Named("audio")]


def test_a_mixed_voice_has_the_mean_of_the_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _Loaded()
    _load(_folder(tmp_path), monkeypatch, ["one", "two"], session).say("Ab.")
    assert set(session.inputs[0]["style"].ravel()) == {2}


def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path)
    with pytest.raises(ModelIntegrityError, match="not a voice: its inputs are x"):
        _load(folder, monkeypatch, ["one"], _Loaded("x"))
    for part, reason in (("three", "has no three"), ("short", r"shape \(4, 100\)")):
        with pytest.raises(ModelIntegrityError, match=reason):
            _load(folder, monkeypatch, [part], _Loaded())
    (folder / PHONEMES).write_text("[]")
    with pytest.raises(ModelIntegrityError, match="not a list of phonemes"):
        _load(folder, monkeypatch, ["one"], _Loaded())


def test_a_file_that_is_no_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelIntegrityError, match=r"speech\.onnx is damaged or not a voice"):
        _load(_folder(tmp_path), monkeypatch, ["one"])


def test_a_speech_knows_its_length() -> None:
    assert Speech(np.zeros(12_000, np.float32), RATE).seconds == 0.5
