"""Encoders by name: folders, runs, Whisper models, log-mel features, random ones; and names that mean nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_checkpoint import small_checkpoint
from torch import Tensor

from mtasr.checkpoints.encoders import save_encoder
from mtasr.checkpoints.formats import save_checkpoint
from mtasr.encoders import load_encoder
from mtasr.encoders.loading import known_layers
from mtasr.errors import DeviceError, ModelError, ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.networks.dimensions import DIMENSIONS
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder

AUDIO = torch.rand(1, 4_000, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def wave() -> WaveEncoder:
    torch.manual_seed(5)
    return WaveEncoder(WAVE_PRESETS["tiny-cpc"]).eval()


def final(encoder: object) -> Tensor:
    with torch.no_grad():
        return encoder.states(AUDIO)[-1]  # type: ignore[attr-defined, no-any-return]


def test_a_folder(tmp_path: Path, wave: WaveEncoder) -> None:
    save_encoder(wave, tmp_path / "mine")
    encoder = load_encoder(tmp_path / "mine", "cpu")
    assert encoder.name == str(tmp_path / "mine")
    assert (encoder.width, encoder.layers, encoder.frame_seconds) == (64, 1, 0.01)
    assert not encoder.training  # type: ignore[attr-defined]
    assert torch.equal(final(encoder), final(wave))


def test_a_run_of_pretraining(tmp_path: Path, wave: WaveEncoder) -> None:
    save_encoder(wave, tmp_path / "run" / "encoder")
    (tmp_path / "run" / "config.json").write_text('{"objective": "cpc", "model": "base"}')
    assert torch.equal(final(load_encoder(str(tmp_path / "run"))), final(wave))


@pytest.mark.parametrize(
    ("kind", "place"), [("ctranslate2", "run/model"), ("openai", "run/model.pt"), ("huggingface", "m")]
)
def test_a_whisper_model_of_any_format(tmp_path: Path, kind: str, place: str) -> None:
    checkpoint = small_checkpoint()
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(checkpoint, path, kind)
    encoder = load_encoder(path.parent if place.startswith("run") else path)
    with torch.no_grad():
        mel = WhisperEncoder.of(checkpoint.model.eval()).mel(AUDIO)
        assert torch.equal(final(encoder), checkpoint.model.encode(mel))


def test_the_encoder_of_a_published_whisper_model_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtasr.encoders import loading

    save_checkpoint(small_checkpoint(), tmp_path / "model", "ctranslate2")
    monkeypatch.setattr(loading, "resolve", lambda name, progress: tmp_path / "model")
    encoder = load_encoder("base.en")
    assert isinstance(encoder, WhisperEncoder)
    assert encoder.name == "base.en"


@pytest.mark.weights
def test_the_encoder_of_base() -> None:
    encoder = load_encoder("base")
    assert isinstance(encoder, WhisperEncoder)
    assert encoder.dims == DIMENSIONS["base"].encoder
    assert torch.isfinite(final(encoder)).all()


def test_layers_that_are_known_before_an_encoder_is_loaded(tmp_path: Path) -> None:
    save_encoder(WaveEncoder(WAVE_PRESETS["tiny"], "tiny"), tmp_path / "wave")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"num_hidden_layers": "many"}')
    folder = str(tmp_path / "wave")
    for name in (folder, f"random:{folder}", f"{folder}+5", "mfcc", "log-mel+2"):
        assert known_layers(name) == load_encoder(name, "cpu").layers
    assert known_layers("random:base") == known_layers("base") == 6
    assert known_layers("random:hubert-base") == 12
    for name in ("hubert-base", "acme/hubert", "nobody", str(tmp_path / "damaged")):
        assert known_layers(name) is None


def test_log_mel() -> None:
    encoder = load_encoder("log-mel")
    assert (encoder.name, encoder.width, encoder.layers) == ("log-mel", 160, 0)


def test_neighbours_of_frames(tmp_path: Path, wave: WaveEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder("log-mel+2", "cpu")
    assert (encoder.name, encoder.width) == ("log-mel+2", 5 * load_encoder("log-mel").width)
    monkeypatch.chdir(tmp_path)
    save_encoder(wave, tmp_path / "mine")
    save_encoder(wave, tmp_path / "mine+2")
    assert load_encoder("mine+1").width == 3 * wave.width
    assert load_encoder("mine+2").width == wave.width  # a folder of that very name
    with pytest.raises(ModelNotFoundError, match="there is no encoder 'log-mel\\+0'"):
        load_encoder("log-mel+0")


def test_cepstra() -> None:
    encoder = load_encoder("mfcc")
    assert (encoder.name, encoder.width, encoder.layers, encoder.frame_seconds) == ("mfcc", 39, 0, 0.01)
    assert encoder.states(torch.zeros(1, 16_000))[0].shape == (1, 98, 39)


def test_random_twins_of_folders(tmp_path: Path, wave: WaveEncoder) -> None:
    save_encoder(wave, tmp_path / "run" / "encoder")
    save_checkpoint(small_checkpoint(), tmp_path / "model", "ctranslate2")
    for path in (tmp_path / "run", tmp_path / "model"):
        trained, twin = load_encoder(path), load_encoder(f"random:{path}")
        assert twin.name == f"random:{path}"
        assert final(twin).shape == final(trained).shape
        assert not torch.equal(final(twin), final(trained))
        assert torch.equal(final(twin), final(load_encoder(f"random:{path}")))


def test_random_encoders_of_published_sizes() -> None:
    assert load_encoder("random:tiny-cpc").config == WAVE_PRESETS["tiny-cpc"]  # type: ignore[attr-defined]
    assert load_encoder("random:tiny").dims == DIMENSIONS["tiny"].encoder  # type: ignore[attr-defined]


def test_a_folder_of_a_published_name(tmp_path: Path, wave: WaveEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(wave, tmp_path / "base")
    assert isinstance(load_encoder("base"), WaveEncoder)
    assert isinstance(load_encoder("random:base"), WaveEncoder)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("bsae", ModelNotFoundError, "there is no encoder 'bsae'; did you mean base"),
        ("", ModelNotFoundError, "there is no encoder ''"),
        ("./nowhere", ModelNotFoundError, r"there is no encoder \./nowhere"),
        ("no/such/folder", ModelNotFoundError, "there is no encoder no/such/folder"),
        ("facebook/hubert-base-ls960", ModelNotFoundError, "is not on this machine, and HF_HUB_OFFLINE is set"),
        ("hubert-base", ModelNotFoundError, "hubert-base is an architecture without weights: random:hubert-base"),
        ("random:log-mel", UsageError, "log-mel features have no weights"),
        ("random:mfcc", UsageError, "mfcc features have no weights"),
        ("random:", ModelNotFoundError, "there is no encoder ''"),
        ("random:random:tiny", ModelNotFoundError, "there is no encoder 'random:tiny'"),
        ("x" * 5_000, ModelNotFoundError, "there is no encoder x"),
        (Path("base"), ModelNotFoundError, "there is no encoder base"),
    ],
)
def test_names_that_mean_nothing(name: str | Path, kind: type[ModelError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="device must be"):
        load_encoder("log-mel", "tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            load_encoder("log-mel", "cuda")


@pytest.mark.parametrize("name", ["hubert_base_ls960.pt", "hubert_base_ls960_L9_km500.bin", "km.joblib"])
def test_files_of_fairseq(tmp_path: Path, name: str) -> None:
    """Pickles of code, in torch's layout or not. None of it runs."""
    owned = tmp_path / "owned"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(owned),)

    torch.save({"cfg": Attack(), "model": {}}, tmp_path / name)
    with pytest.raises(ModelIntegrityError, match="of files, only Whisper models are read"):
        load_encoder(tmp_path / name)
    assert not owned.exists()


def test_a_folder_without_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="not a model of a known format"):
        load_encoder(tmp_path)


def test_importing_loads_no_torch() -> None:
    code = "import sys, mtasr.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
