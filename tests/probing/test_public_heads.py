"""The golden files come from transformers: `tests/golden/make_heads.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from speech import write_wav

from mtasr.encoders.extract import whole_states
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.probing.answers import logits_of
from mtasr.probing.classifying import classified, load_classifier

GOLDEN = Path(__file__).parent.parent / "golden" / "heads"
SOUND = np.random.default_rng(7).normal(0, 0.1, 11_200).astype(np.float32)


@pytest.mark.parametrize("name", ["wav2vec2-intents", "hubert-emotion", "wavlm-voice", "wavlm-turns"])
def test_heads_say_what_transformers_says(name: str) -> None:
    encoder, head = load_classifier(str(GOLDEN / name))
    states = torch.from_numpy(whole_states(encoder, SOUND, range(encoder.layers + 1)))
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    np.testing.assert_allclose(logits_of(head, states).numpy(), expected, atol=1e-5)


def test_intents_have_three_answers(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SOUND)
    choices = classified(load_classifier(str(GOLDEN / "wav2vec2-intents")), str(tmp_path / "a.wav")).choices
    assert {question: len(each) for question, each in choices.items()} == {"action": 6, "object": 14, "location": 4}
    assert all(sum(probability for _, probability in each) == pytest.approx(1) for each in choices.values())
    assert {label for label, _ in choices["location"]} == {"bedroom", "kitchen", "none", "washroom"}


def test_turns_and_voices(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SOUND)
    turns = classified(load_classifier(str(GOLDEN / "wavlm-turns")), str(tmp_path / "a.wav"))
    assert {span.label for span in turns.spans} <= {"Speaker 1", "Speaker 2"}
    voice = classified(load_classifier(str(GOLDEN / "wavlm-voice")), str(tmp_path / "a.wav")).embedding
    assert voice is not None
    assert float(voice @ voice) == pytest.approx(1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "wavlm-voice", tmp_path / "head"))


def changed(folder: Path, **settings: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architectures": ["WavLMForCTC"]}, "is WavLMForCTC; heads that classify are"),
        ({"architectures": []}, "is of unknown architecture"),
        ({"architectures": None}, "is of unknown architecture"),
        ({"architectures": ["WavLMForSequenceClassification"]}, "classifier.weight has the shape"),
        ({"use_weighted_layer_sum": True, "architectures": ["WavLMForAudioFrameClassification"]}, "not a usable head"),
        ({"tdnn_kernel": [5, 3, 3, 1]}, "tdnn_kernel is"),
        ({"tdnn_dilation": "x"}, "tdnn_dilation is 'x'"),
    ],
)
def test_configurations_that_are_refused(checkpoint: Path, settings: dict[str, object], message: str) -> None:
    changed(checkpoint, **settings)
    with pytest.raises(ModelIntegrityError, match=message):
        load_classifier(str(checkpoint))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("layer_weights", None, "layer_weights is missing"),
        ("layer_weights", torch.zeros(2), "layer_weights has the shape"),
        ("projector.weight", None, "no matrix projector.weight"),
        ("projector.weight", torch.zeros(6, 9), "projector.weight has the shape"),
        ("tdnn.1.kernel.weight", torch.zeros(6, 6), "tdnn.1.kernel.weight has the shape"),
        ("feature_extractor.weight", torch.zeros(5, 15), "feature_extractor.weight has the shape"),
        ("tdnn.0.kernel.bias", torch.full((6,), torch.nan), "not finite"),
        ("projector.bias", torch.zeros(6, dtype=torch.int64), "is of type"),
    ],
)
def test_tensors_that_are_refused(checkpoint: Path, name: str, tensor: torch.Tensor | None, message: str) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    tensors.pop(name)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, checkpoint / "model.safetensors")
    with pytest.raises(ModelIntegrityError, match=message):
        load_classifier(str(checkpoint))


@pytest.mark.parametrize(
    "labels", [{"0": "a"}, {"1": "a", "2": "b", "3": "c", "4": "d"}, ["a", "b", "c", "d"], {"0": 1}]
)
def test_labels_that_are_refused(tmp_path: Path, labels: object) -> None:
    folder = Path(shutil.copytree(GOLDEN / "hubert-emotion", tmp_path / "head"))
    changed(folder, id2label=labels)
    with pytest.raises(ModelIntegrityError, match="id2label does not name the 4 outputs"):
        load_classifier(str(folder))


def test_labels_without_names_are_numbers(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "hubert-emotion", tmp_path / "head"))
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_classifier(str(folder)).head.config.labels == {"label": ("0", "1", "2", "3")}


@pytest.mark.parametrize("name", ["no such head", "./missing", ""])
def test_heads_that_are_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="there is no head"):
        load_classifier(name)
