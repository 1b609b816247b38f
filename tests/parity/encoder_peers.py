"""Do our encoders compute what those of transformers compute, and does transformers load what we save?

In an environment of its own, because transformers is no dependency; torchaudio must not be there:

    python -m venv .venv-peers
    .venv-peers/bin/pip install -e ".[train]" "transformers>=5"
    .venv-peers/bin/python tests/parity/encoder_peers.py               # prints the greatest differences
    .venv-peers/bin/python tests/parity/encoder_peers.py --write       # makes tests/golden/encoders anew

Weights are random, so no network is needed. Every parameter is drawn, also those that a new model has at 0 or 1.
Exits with 1 if a state differs by more than 1e-5, or if transformers misses a tensor or finds one too many.
`tests/checkpoints/test_encoder_golden.py` compares with what `--write` leaves.
"""

# ruff: noqa: T201 - a script

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtasr.checkpoints.encoders import read_encoder, save_encoder

MOST = 1e-5
GOLDEN = Path(__file__).parent.parent / "golden" / "encoders"
#: One `.bin` with older names among them; the others have half precision, so as to be small.
PICKLED = "hubert-group"

_CONVOLUTIONS = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
_TINY = _CONVOLUTIONS | {
    "conv_dim": [8] * 7, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8, "vocab_size": 5,
}  # fmt: skip
#: Half as wide as the published ones, and of a third of their layers: wide enough for rounding to show.
_WIDE = _CONVOLUTIONS | {
    "conv_dim": [256] * 7, "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6,
    "intermediate_size": 1536, "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
}  # fmt: skip

_GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_BUCKETS = {"num_buckets": 320, "max_bucket_distance": 800}
_FEW_BUCKETS = {"num_buckets": 16, "max_bucket_distance": 20}

#: Name -> class of transformers, settings, whether audio is normalised.
VARIANTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "wav2vec2-group": ("Wav2Vec2ForPreTraining", _GROUP, False),
    "wav2vec2-layer": ("Wav2Vec2Model", _LAYER, True),
    "hubert-group": ("HubertModel", _GROUP, True),
    "hubert-layer": ("HubertForCTC", _LAYER | {"conv_bias": False}, True),
    "wavlm-group": ("WavLMModel", _GROUP | _BUCKETS, False),
    "wavlm-layer": ("WavLMModel", _LAYER | {"conv_bias": False} | _BUCKETS, True),
}
#: Mixtures that nobody has published, but that configurations can ask for.
OTHERS = {
    "wav2vec2-group-bias": ("Wav2Vec2Model", _GROUP | {"conv_bias": True}, False),
    "wav2vec2-group-pre": ("Wav2Vec2Model", _GROUP | {"do_stable_layer_norm": True}, False),
    "wav2vec2-layer-post": ("Wav2Vec2Model", _LAYER | {"do_stable_layer_norm": False}, False),
    "wav2vec2-odd-kernel": ("Wav2Vec2ForCTC", _GROUP | {"num_conv_pos_embeddings": 31}, False),
    "wav2vec2-relu": ("Wav2Vec2Model", _LAYER | {"feat_extract_activation": "relu"}, True),
    "wavlm-few-buckets": ("WavLMModel", _GROUP | _FEW_BUCKETS, False),
}


def drawn_model(name: str, kind: str, settings: dict[str, Any]) -> Any:
    """A model of transformers with all its parameters drawn at random."""
    torch.manual_seed(sum(name.encode()))
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(drawn(parameter_name, parameter))
    return model


def drawn(name: str, parameter: Tensor) -> Tensor:
    if name.endswith(("original0", "gru_rel_pos_const")) or "norm.weight" in name:
        return torch.rand_like(parameter) + 0.5
    if parameter.ndim < 2:
        return 0.1 * torch.randn_like(parameter)
    inputs = 1 if "embed" in name else parameter[0].numel()
    return torch.randn_like(parameter) / inputs**0.5


def expected(model: Any, audio: Tensor, normalise: bool) -> list[Tensor]:
    """The input of each layer and the final output, which transformers 5 returns apart for pre-norm models."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=False)
    rows = extractor(list(audio.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    encoder = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        output = encoder(rows, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def noise(samples: int) -> Tensor:
    """Two rows, the second faint and off zero."""
    rng = np.random.default_rng(7)
    rows = rng.uniform(-0.5, 0.5, (2, samples)) * [[1.0], [0.1]] + [[0.0], [0.02]]
    return torch.tensor(rows, dtype=torch.float32)


def store(model: Any, folder: Path, normalise: bool) -> None:
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    assert [each.shape for each in ours] == [each.shape for each in theirs]
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def compare(name: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Differences of reading their checkpoint, and of their reading ours."""
    kind, settings, normalise = {**VARIANTS, **OTHERS}[name]
    model, audio = drawn_model(name, kind, _WIDE | settings), noise(16_000)
    theirs = expected(model, audio, normalise)
    store(model, folder / "theirs", normalise)
    encoder = read_encoder(folder / "theirs")
    with torch.no_grad():
        yield "we read theirs", difference(encoder.states(audio), theirs)
    family = model.config.model_type
    save_encoder(encoder, folder / "ours", family)
    again, report = transformers.AutoModel.from_pretrained(folder / "ours", output_loading_info=True)
    strange = {key: value for key, value in report.items() if value}
    if strange:
        raise ValueError(f"{name}: transformers does not find its tensors: {strange}")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder / "ours")
    if extractor.do_normalize is not normalise:
        raise ValueError(f"{name}: transformers would normalise the audio otherwise")
    yield "they read ours", difference(expected(again.eval(), audio, normalise), theirs)


def write_golden(name: str, folder: Path, audio: Tensor) -> None:
    """A tiny checkpoint as transformers writes it, with the states that transformers computes."""
    kind, settings, normalise = VARIANTS[name]
    few = _FEW_BUCKETS if name.startswith("wavlm") else {}
    model = drawn_model(name, kind, _TINY | settings | few)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    store(model, folder, normalise)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    if name == PICKLED:
        weights.unlink()
        torch.save({older(key): value for key, value in tensors.items()}, folder / "pytorch_model.bin")
    else:
        save_file({key: value.half() for key, value in tensors.items()}, weights, metadata={"format": "pt"})
    states = {f"state_{index}": each.contiguous() for index, each in enumerate(expected(model, audio, normalise))}
    save_file(states, folder / "expected.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
        if path.suffix == ".json":  # without what differs from version to version
            document = json.loads(path.read_text())
            document.pop("transformers_version", None)
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def older(name: str) -> str:
    spelled = name.replace("parametrizations.weight.original0", "weight_g")
    return spelled.replace("parametrizations.weight.original1", "weight_v")


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    if arguments == ["--write"]:
        shutil.rmtree(GOLDEN, ignore_errors=True)
        audio = noise(2_400).half()
        for name in VARIANTS:
            write_golden(name, GOLDEN / name, audio.float())
        save_file({"audio": audio}, GOLDEN / "audio.safetensors")
        (GOLDEN / "audio.safetensors").chmod(0o644)
        size = sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file())
        print(f"{GOLDEN}: {size / 1000:.0f} kB")
        return 0
    worst = 0.0
    for name in (*VARIANTS, *OTHERS):
        with tempfile.TemporaryDirectory() as folder:
            for what, found in compare(name, Path(folder)):
                print(f"{name:20} {what:15} {found:.1e}")
                worst = max(worst, found)
    print(f"greatest difference {worst:.1e}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
