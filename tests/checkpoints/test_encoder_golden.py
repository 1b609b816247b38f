"""Encoders against transformers: tiny checkpoints that it wrote, with the states that it computed.

`tests/parity/encoder_peers.py` made them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mtasr.checkpoints.encoders import read_encoder, save_encoder

GOLDEN = Path(__file__).parent.parent / "golden" / "encoders"
VARIANTS = ("hubert-group", "hubert-layer", "wav2vec2-group", "wav2vec2-layer", "wavlm-group", "wavlm-layer")


#: The one whose weights are in a `.bin`, with older names.
PICKLED = "hubert-group"


def test_each_variant_is_there_and_all_are_small() -> None:
    assert {each.name for each in GOLDEN.iterdir()} == {"audio.safetensors", *VARIANTS}
    assert sum(each.stat().st_size for each in GOLDEN.rglob("*") if each.is_file()) < 200_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_states_equal_those_of_transformers(variant: str) -> None:
    audio = load_file(GOLDEN / "audio.safetensors")["audio"].float()
    expected = load_file(GOLDEN / variant / "expected.safetensors")
    encoder = read_encoder(GOLDEN / variant)
    with torch.no_grad():
        states = encoder.states(audio)
    assert len(states) == len(expected)
    for index, state in enumerate(states):
        torch.testing.assert_close(state, expected[f"state_{index}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each != PICKLED])
def test_our_tensors_have_the_names_that_transformers_gives(tmp_path: Path, variant: str) -> None:
    family = variant.partition("-")[0]
    save_encoder(read_encoder(GOLDEN / variant), tmp_path / "ours", family)  # type: ignore[arg-type]
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    theirs = load_file(GOLDEN / variant / "model.safetensors")
    heads = ("quantizer.", "project_", "lm_head.")
    encoder = {name.removeprefix(f"{family}."): each for name, each in theirs.items() if not name.startswith(heads)}
    assert set(ours) == set(encoder)
    assert all(torch.equal(each, encoder[name].float()) for name, each in ours.items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_settings_are_those_of_transformers(tmp_path: Path, variant: str) -> None:
    """But for rates of training, and what says which head there was and in which precision."""
    family = variant.partition("-")[0]
    save_encoder(read_encoder(GOLDEN / variant), tmp_path / "ours", family)  # type: ignore[arg-type]
    for name in ("config.json", "preprocessor_config.json"):
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (tmp_path / "ours", GOLDEN / variant))
        of_no_matter = {key for key in ours if "dropout" in key}
        of_no_matter |= {"architectures", "torch_dtype", "return_attention_mask"}
        kept = {key: value for key, value in ours.items() if key not in of_no_matter}
        assert kept == {key: theirs[key] for key in kept}
