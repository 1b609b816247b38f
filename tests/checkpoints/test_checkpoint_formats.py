"""Every format, written and read back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ctranslate2.specs import WhisperSpec, model_spec
from small_checkpoint import same, small_checkpoint
from vocabularies import vocabulary

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.ctranslate2.info import expected_shapes
from mtasr.checkpoints.ctranslate2.stored_weights import quantized
from mtasr.checkpoints.formats import FORMATS, load_checkpoint, save_checkpoint
from mtasr.checkpoints.huggingface.files import merges, read_tokens
from mtasr.checkpoints.openai.vocabulary import as_large_v3, vocabulary_for
from mtasr.checkpoints.tensor_names import fused
from mtasr.checkpoints.weights import expected_shapes as torch_shapes
from mtasr.errors import ModelError
from mtasr.models import packages
from mtasr.models.model_bin import read_contents
from mtasr.networks.dimensions import DIMENSIONS
from mtasr.tokenizer import Tokenizer


@pytest.fixture(scope="module", params=["multilingual", "english", "large-v3"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    torch.set_num_threads(1)
    return small_checkpoint(request.param)


@pytest.mark.parametrize("kind", [each.name for each in FORMATS])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_round_trip_to_the_bit(checkpoint: Checkpoint, tmp_path: Path, kind: str, precision: str) -> None:
    path = tmp_path / "model"
    save_checkpoint(checkpoint, path, kind, precision)  # type: ignore[arg-type]
    loaded = load_checkpoint(path)
    assert same(loaded, checkpoint)
    assert loaded.precision == precision


def test_ctranslate2_twice_gives_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for precision in ("float16", "bfloat16", "int8_float16"):
        first, second = tmp_path / precision, tmp_path / f"{precision}-again"
        save_checkpoint(checkpoint, first, "ctranslate2", precision)  # type: ignore[arg-type]
        again = load_checkpoint(first)
        assert again.precision == precision
        save_checkpoint(again, second, "ctranslate2", precision)  # type: ignore[arg-type]
        if precision != "int8_float16":  # a factor that was divided by and computed again may move by one bit
            assert (first / "model.bin").read_bytes() == (second / "model.bin").read_bytes()


def test_int8_is_what_ctranslate2_makes_of_it(tmp_path: Path) -> None:
    checkpoint = small_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "ours", "ctranslate2", "int8")
    save_checkpoint(checkpoint, tmp_path / "floats", "ctranslate2", "float32")
    floats, ours = (read_contents(tmp_path / name / "model.bin") for name in ("floats", "ours"))
    dims = checkpoint.model.dims
    spec = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)

    def fill(part: model_spec.LayerSpec, name: str, _: object) -> None:
        variable = floats.variables.get(name)
        if variable and variable.shape:
            value = np.frombuffer(floats.read(variable), np.float32).reshape(variable.shape).copy()
            setattr(part, name.rpartition("/")[2], value)

    model_spec.visit_spec(spec, fill)
    spec.register_vocabulary(checkpoint.tokens)
    spec.validate()
    spec.optimize(quantization="int8")
    (tmp_path / "theirs").mkdir()
    spec.save(str(tmp_path / "theirs"))
    theirs = read_contents(tmp_path / "theirs" / "model.bin")
    assert set(theirs.variables) <= set(ours.variables) | {"decoder/projection/weight_scale"}
    for name, variable in theirs.variables.items():
        assert (variable.dtype, variable.shape) == (ours.variables[name].dtype, ours.variables[name].shape), name
        assert theirs.read(variable) == ours.read(ours.variables[name]), name


def test_quantizing_rows_without_size() -> None:
    matrix = np.array([[0.0, 0.0], [1e-44, 0.0], [-2.0, 1.0]], np.float32)
    values, scale = quantized("matrix", matrix, 127)
    assert np.isfinite(np.frombuffer(scale.data, np.float32)).all()
    assert np.frombuffer(values.data, np.int8).tolist()[4:] == [-127, 64]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_quantizing_what_is_no_number(value: float) -> None:
    with pytest.raises(ModelError, match="matrix has values that int8 cannot hold"):
        quantized("matrix", np.array([[1.0, value]], np.float32), 127)


def test_all_names_of_a_model_are_translated() -> None:
    shapes = torch_shapes(DIMENSIONS["base"])
    parts = [part for group in fused(shapes) for part in group.parts if part]
    assert sorted(parts) == sorted(shapes)


def test_merges_are_found_again(tmp_path: Path) -> None:
    """Byte-pair encoding by the merges gives what tiktoken makes of the same vocabulary."""
    tokens = vocabulary()
    found = merges(tokens[: Tokenizer(tokens).eot])
    ranks = {pair: rank for rank, pair in enumerate(found)}
    for text in ("Ġthere", "Ġpeople", "Ġnumbers", "thing", "Ġqqq"):
        parts = list(text)
        while pairs := [(ranks[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in ranks]:
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        assert [tokens.index(part) for part in parts] == Tokenizer(tokens).encode(text.replace("Ġ", " "))


def test_hugging_face_files(tmp_path: Path) -> None:
    checkpoint = small_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "hf", "huggingface")
    (tmp_path / "hf/tokenizer.json").unlink()  # vocab.json and added_tokens.json say the same
    assert read_tokens(tmp_path / "hf") == checkpoint.tokens
    generation = json.loads((tmp_path / "hf/generation_config.json").read_text())
    assert generation["lang_to_id"]["<|en|>"] == checkpoint.tokens.index("<|en|>")
    assert (tmp_path / "hf/model.safetensors").stat().st_mode == (tmp_path / "hf/config.json").stat().st_mode


def test_sharded_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    checkpoint = small_checkpoint()
    folder = tmp_path / "hf"
    save_checkpoint(checkpoint, folder, "huggingface")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(load_checkpoint(folder), checkpoint)


def test_values_beyond_float16(tmp_path: Path) -> None:
    checkpoint = small_checkpoint()
    with torch.no_grad():
        checkpoint.model.encoder.conv1.bias[0] = 1e6
    with pytest.raises(ModelError, match="encoder/conv1/bias has values that float16 cannot hold"):
        save_checkpoint(checkpoint, tmp_path / "model", "ctranslate2", "float16")


class TestOpenaiVocabulary:
    """OpenAI's own files have no vocabulary."""

    @pytest.fixture
    def bare(self, tmp_path: Path) -> Path:
        path = tmp_path / "alone" / "model.pt"
        path.parent.mkdir()
        save_checkpoint(small_checkpoint(), path, "openai")
        document = torch.load(path, weights_only=True)
        torch.save({name: document[name] for name in ("dims", "model_state_dict")}, path)
        return path

    def test_beside_the_file(self, bare: Path) -> None:
        (bare.parent / "vocabulary.json").write_text(json.dumps(vocabulary()))
        loaded = load_checkpoint(bare)
        assert loaded.tokens == vocabulary()
        assert len(loaded.settings.lang_ids) == 99
        assert loaded.settings.alignment_heads == ((1, 0), (1, 1), (1, 2), (1, 3))

    def test_beside_the_file_but_another(self, bare: Path) -> None:
        (bare.parent / "vocabulary.json").write_text(json.dumps(vocabulary("large-v3")))
        with pytest.raises(ModelError, match="has 2309 tokens and the model 2308"):
            load_checkpoint(bare)

    def test_nowhere(self, bare: Path) -> None:
        with pytest.raises(ModelError, match=r"put its vocabulary.json or tokenizer.json beside it"):
            load_checkpoint(bare)

    def test_large_v3_from_the_one_before(self) -> None:
        assert as_large_v3(vocabulary()) == vocabulary("large-v3")

    @pytest.mark.weights
    def test_from_the_installed_package(self, tmp_path: Path) -> None:
        assert packages.locate("base")
        tokens, settings = vocabulary_for(tmp_path / "base.pt", DIMENSIONS["base"])
        assert len(tokens) == 51865
        assert (settings.suppress_ids[0], len(settings.suppress_ids), settings.suppress_ids_begin) == (
            1,
            88,
            (220, 50257),
        )
        assert len(vocabulary_for(tmp_path / "v3.pt", DIMENSIONS["large-v3"])[0]) == 51866


@pytest.mark.parametrize("name", ["tiny", "large-v3", "large-v3-turbo"])
def test_shapes_are_those_of_the_model(name: str) -> None:
    """What is known without torch, against the tensors of the torch model joined as CTranslate2 joins them."""
    shapes = torch_shapes(DIMENSIONS[name])
    joined = {}
    for group in fused(shapes):
        first = next(shapes[part] for part in group.parts if part)
        joined[group.name] = (len(group.parts) * first[0], *first[1:])
    found = expected_shapes(DIMENSIONS[name])
    assert found.pop("decoder/projection/weight") == joined["decoder/embeddings/weight"]
    assert found == joined
