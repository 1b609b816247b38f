"""A codec: lengths, causality, what transformers computes with the same weights, and foreign files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mtasr.checkpoints.generative.encodec import read_meta_file
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.generative.codec import CODEC_PRESETS, Codec, CodecConfig
from mtasr.generative.codec_folder import load_codec, save_codec
from mtasr.generative.conv import fold_weights, normalise_weights, padded

_GOLDEN = Path(__file__).parents[1] / "golden" / "encodec"


def test_codes_and_sound_are_those_of_transformers() -> None:
    codec = load_codec(_GOLDEN)
    golden = {name: torch.from_numpy(each) for name, each in np.load(_GOLDEN / "expected.npz").items()}
    with torch.no_grad():
        torch.testing.assert_close(codec.encoder(golden["audio"][:, None]), golden["vectors"], atol=1e-5, rtol=1e-5)
    assert codec.encode(golden["audio"]).equal(golden["codes"])
    torch.testing.assert_close(codec.decode(golden["codes"]), golden["made"], atol=1e-5, rtol=1e-5)


def test_the_published_codec_has_its_published_figures() -> None:
    config = CODEC_PRESETS["encodec-24khz"]
    assert (config.frame_rate, config.bits, config.kilobits(8)) == (75, 10, 6)
    assert [config.books_for(rate) for rate in (1.5, 3, 6, 12, 24)] == [2, 4, 8, 16, 32]
    for wrong in (0.5, 25):
        with pytest.raises(UsageError, match=r"0.75 to 24 kbit/s"):
            config.books_for(wrong)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Codec(config).parameters()) == 14_846_817
    # Of an hour, 270,000 frames; the last one may be a part.
    assert (config.frames(0), config.frames(1), config.frames(320), config.frames(321)) == (0, 1, 1, 2)


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 101])
def test_the_sound_is_as_long_as_it_was(codec: Codec, samples: int) -> None:
    codes = codec.encode(torch.randn(2, samples))
    assert codes.shape == (2, 3, codec.config.frames(samples))
    assert codec.decode(codes, samples).shape == (2, samples)


def test_later_samples_change_no_earlier_code(codec: Codec) -> None:
    audio = 0.5 * torch.randn(1, 400)
    other = audio.clone()
    other[:, 200:] = torch.randn(1, 200)
    ours, theirs = codec.encode(audio), codec.encode(other)
    assert ours[..., :25].equal(theirs[..., :25])
    assert not ours[..., 25:].equal(theirs[..., 25:])
    # And no earlier sample that is decoded.
    changed = ours.clone()
    changed[..., 25:] = 0
    assert codec.decode(ours)[:, :200].equal(codec.decode(changed)[:, :200])


def test_mirrored_beginnings_are_those_of_numpy() -> None:
    x = torch.arange(5.0)[None, None]
    assert padded(x, 3, 2, "reflect")[0, 0].tolist() == np.pad(np.arange(5.0), (3, 2), "reflect").tolist()
    assert padded(x[..., :2], 3, 0, "reflect")[0, 0].tolist() == [0, 0, 1, 0, 1]  # as if zeros followed


def test_norms_of_weights_fold_into_them(codec: Codec) -> None:
    audio = torch.randn(1, 80)
    before = codec.encoder(audio[:, None])
    normalise_weights(codec)
    torch.testing.assert_close(codec.encoder(audio[:, None]), before)
    fold_weights(codec)
    assert all("original" not in name for name in codec.state_dict())


def test_a_codec_is_stored_and_read(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, tmp_path / "run" / "codec")
    read = load_codec(tmp_path / "run")
    assert read.config == codec.config
    for name, tensor in codec.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    assert read.name == f"mtasr-{read.digest}"


def _meta_names(codec: Codec) -> dict[str, Tensor]:
    """The tensors of this codec as `torch.save(model.state_dict())` of Meta's program would hold them."""
    last = len(codec.decoder.layers) - 1
    books = {"centres": "embed", "counts": "cluster_size", "sums": "embed_avg", "begun": "inited"}
    result: dict[str, Tensor] = {}
    for name, tensor in codec.state_dict().items():
        part, _, rest = name.split(".", 2)
        if part == "quantizer":
            number, leaf = rest.split(".")
            result[f"quantizer.vq.layers.{number}._codebook.{books[leaf]}"] = tensor
            continue
        number = int(rest.split(".")[0])
        kind = "convtr" if part == "decoder" and 0 < number < last and rest.startswith(f"{number}.conv") else "conv"
        theirs = f"{part}.model.{rest}".replace("conv.", f"{kind}.{kind}.")
        if rest.endswith("conv.weight"):
            norm = tensor.norm(dim=(1, 2), keepdim=True)
            result |= {f"{theirs}_g": norm, f"{theirs}_v": 3 * tensor}
        else:
            result[theirs] = tensor
    return result


def _shapes(codec: Codec) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in codec.state_dict().items()}


def test_a_file_of_metas_is_read(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "small.th"
    torch.save(_meta_names(codec), path)
    state = read_meta_file(path, _shapes(codec))
    for name, tensor in codec.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-7)


def test_all_that_is_missing_is_told_at_once(codec: Codec, tmp_path: Path) -> None:
    path, state = tmp_path / "small.th", _meta_names(codec)
    lost = ["encoder.model.0.conv.conv.weight_g", "decoder.model.3.convtr.convtr.bias"]
    torch.save({name: tensor for name, tensor in state.items() if name not in lost}, path)
    with pytest.raises(ModelIntegrityError) as raised:
        read_meta_file(path, _shapes(codec))
    assert all(f"{name} is missing" in str(raised.value) for name in lost)


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("never"),))


def test_hostile_and_damaged_files_are_refused(codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**_meta_names(codec), "more": _Hostile()}, tmp_path / "hostile.th")
    (tmp_path / "noise.th").write_bytes(b"\x80\x02" + bytes(100))
    torch.save(_meta_names(codec), tmp_path / "renamed-d7cc33bc.th")
    nan = _meta_names(codec)
    nan["encoder.model.0.conv.conv.bias"] = torch.full((4,), torch.nan)
    torch.save(nan, tmp_path / "nan.th")
    reasons = {
        "hostile": "none of its code was run",
        "noise": "damaged",
        "renamed-d7cc33bc": "begin with d7cc33bc",
        "nan": "not finite",
    }
    for name, reason in reasons.items():
        with pytest.raises(ModelIntegrityError, match=reason):
            read_meta_file(tmp_path / f"{name}.th", _shapes(codec))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"use_causal_conv": true', '"use_causal_conv": false', ModelError),
        ('"normalize": false', '"normalize": true', ModelError),
        ('"model_type": "encodec"', '"model_type": "dac"', ModelError),
        ('"hidden_size": 6', '"hidden_size": -6', ModelError),
        ('"num_filters": 4', '"num_filters": 99999999', ModelIntegrityError),
        ('"sampling_rate": 24000', '"sampling_rate": null', ModelIntegrityError),
        ('"num_filters": 4', '"num_filters": 8', ModelIntegrityError),
    ],
)  # fmt: skip
def test_configurations_of_other_codecs_are_refused(tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(_GOLDEN, folder)
    text = (folder / "config.json").read_text()
    assert old in text
    (folder / "config.json").write_text(text.replace(old, new))
    with pytest.raises(error):
        load_codec(folder)


def test_a_codec_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such codec"):
        load_codec(tmp_path / "nothing.th")


def test_sizes_of_other_presets() -> None:
    assert CODEC_PRESETS["tiny"].kilobits(8) == pytest.approx(3.2)
    assert CodecConfig(rate=16_000, books=1).frame_rate == 50
