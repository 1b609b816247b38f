"""Few labels after pre-training: a recogniser that begins with a pre-trained encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_model import DIMS, Configure, checkpoint, write_model

from mtasr.checkpoints.encoders import save_encoder
from mtasr.checkpoints.formats import load_checkpoint
from mtasr.errors import ModelNotFoundError, UsageError
from mtasr.networks.wave import WaveEncoder
from mtasr.networks.wave_config import WAVE_PRESETS
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.training.loop import export, train
from mtasr.training.objectives import make_objective


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `mtasr pretrain`, as far as it is looked at."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(5)
    save_encoder(WhisperEncoder(DIMS.encoder), folder / "encoder")
    return folder


def _weights(pretrained: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return WhisperEncoder(DIMS.encoder).encoder.state_dict()


def test_training_begins_with_it(configure: Configure, pretrained: Path, tmp_path: Path) -> None:
    weights = _weights(pretrained)
    for settings in ([], [f"scratch={{n_text_layer: 1, n_audio_layer: {DIMS.n_audio_layer}}}"]):
        for name in (pretrained, pretrained / "encoder"):
            objective = make_objective(configure(tmp_path, f"init_encoder={name}", *settings))
            model = objective.model(torch.device("cpu"))
            assert all(torch.equal(tensor, weights[name]) for name, tensor in model.encoder.state_dict().items())
    initial, decoder = checkpoint().model, make_objective(configure(tmp_path)).model(torch.device("cpu")).decoder
    assert all(torch.equal(tensor, initial.decoder.state_dict()[name]) for name, tensor in decoder.state_dict().items())


def test_a_frozen_one_is_in_the_result(configure: Configure, pretrained: Path, tmp_path: Path) -> None:
    """Also where the result has a share of the initial weights: those of `model` are not among them."""
    settings = [
        f"init_encoder={pretrained}", "optimizer.frozen_encoder_steps=9", "objective=ctc",
        "regularisation.initial_share=0.5", "regularisation.ema=0",
    ]  # fmt: skip
    path = export(train(configure(tmp_path, *settings, steps=1))).path
    found = load_checkpoint(path).model.encoder.state_dict()
    for name, tensor in _weights(pretrained).items():
        assert torch.allclose(found[name], tensor, atol=1e-6)


def test_the_encoder_of_another_whisper_model(configure: Configure, tmp_path: Path) -> None:
    write_model(tmp_path / "other.pt")
    objective = make_objective(configure(tmp_path / "run", f"init_encoder={tmp_path}/other.pt"))
    found, expected = objective.model(torch.device("cpu")).encoder.state_dict(), checkpoint().model.encoder.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_what_does_not_fit(configure: Configure, tmp_path: Path) -> None:
    save_encoder(WhisperEncoder(replace(DIMS.encoder, n_audio_layer=3, n_audio_state=48)), tmp_path / "large")
    with pytest.raises(UsageError) as caught:
        make_objective(configure(tmp_path / "run", f"init_encoder={tmp_path}/large"))
    assert str(caught.value) == (
        f"init_encoder: the encoder of {tmp_path}/large does not fit; it has n_audio_state 48 instead of 32, "
        "n_audio_layer 3 instead of 2"
    )
    save_encoder(WaveEncoder(WAVE_PRESETS["tiny"]), tmp_path / "wave")
    with pytest.raises(UsageError, match="is an encoder of the waveform; this run needs an encoder like Whisper's"):
        make_objective(configure(tmp_path / "run", f"init_encoder={tmp_path}/wave"))
    with pytest.raises(UsageError, match="log-mel is no network to begin with"):
        make_objective(configure(tmp_path / "run", "init_encoder=log-mel"))
    with pytest.raises(UsageError, match="method=houlsby adapts the model as it is"):
        configure(tmp_path / "run", "init_encoder=other", "method=houlsby")
    with pytest.raises(ModelNotFoundError, match="none"):
        make_objective(configure(tmp_path / "run", f"init_encoder={tmp_path}/none"))
