"""Models that are broken or meant to harm: refused with exit code 5, and nothing in them runs."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from small_checkpoint import small_checkpoint

from mtasr.checkpoints.formats import load_checkpoint, save_checkpoint
from mtasr.cli import program
from mtasr.errors import ModelIntegrityError
from mtasr.models import model_bin

EXAMPLE = Path(__file__).parents[2] / "examples" / "interview.flac"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("originals")
    paths = {"ctranslate2": root / "ct2", "huggingface": root / "hf", "openai": root / "model.pt"}
    for kind, path in paths.items():
        save_checkpoint(small_checkpoint(), path, kind)  # type: ignore[arg-type]
    return paths


@pytest.fixture
def ct2(originals: dict[str, Path], tmp_path: Path) -> Path:
    return copy(originals["ctranslate2"], tmp_path / "ct2")


@pytest.fixture
def hf(originals: dict[str, Path], tmp_path: Path) -> Path:
    return copy(originals["huggingface"], tmp_path / "hf")


def copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def refused(path: Path, reason: str, *, by: Sequence[str] = ("torch", "ctranslate2")) -> None:
    with pytest.raises(ModelIntegrityError, match=reason):
        load_checkpoint(path)
    result = CliRunner().invoke(program, ["models", "convert", str(path), str(path.parent / "result")])
    assert result.exit_code == 5
    assert not (path.parent / "result").exists()
    for engine in by:
        command = ["transcribe", str(EXAMPLE), "--model", str(path), "--engine", engine, "-o", str(path.parent / "out")]
        transcribed = CliRunner().invoke(program, command)
        assert transcribed.exit_code == 5, engine


def rewrite(folder: Path, change: Callable[[dict[str, model_bin.StoredVariable]], None]) -> None:
    """Read all variables of a model.bin, change them, and write them back."""
    file = model_bin.read_contents(folder / "model.bin")
    records = {
        name: model_bin.StoredVariable(name, each.dtype, each.shape, bytes(file.read(each)))
        for name, each in sorted(file.variables.items())
        if name != "decoder/projection/weight"
    }
    change(records)
    with (folder / "model.bin").open("wb") as stream:
        aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
        model_bin.write(stream, records.values(), aliases)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.99, 0.9999])
def test_truncated_anywhere(ct2: Path, part: float) -> None:
    data = (ct2 / "model.bin").read_bytes()
    (ct2 / "model.bin").write_bytes(data[: int(len(data) * part)])
    refused(ct2, "model.bin is damaged or not a Whisper model: it ends")


def test_bytes_after_the_end(ct2: Path) -> None:
    with (ct2 / "model.bin").open("ab") as stream:
        stream.write(b"more")
    refused(ct2, "4 bytes follow its end")


def test_every_damaged_byte_of_the_header_is_an_error_of_ours(ct2: Path) -> None:
    data = (ct2 / "model.bin").read_bytes()
    for place in range(120):
        (ct2 / "model.bin").write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with pytest.raises(ModelIntegrityError):
            load_checkpoint(ct2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (struct.pack("<I", 0xFFFFFFFF), "announces 4294967295 variables"),
        (struct.pack("<IH", 1, 0xFFFF), "ends too early"),
        (struct.pack("<IH2sB", 1, 2, b"x\0", 255), "255 dimensions"),
        (struct.pack("<IH2sBIIBI", 1, 2, b"x\0", 2, 2**31, 2**31, 0, 2**32 - 1), "bytes instead of"),
        (struct.pack("<IH2sBIIBI", 1, 2, b"x\0", 2, 2**15, 2**15, 4, 2**31), "ends within x"),
        (struct.pack("<IH2sBBI", 1, 2, b"x\0", 0, 99, 1), "unknown type"),
        (struct.pack("<IH2s", 1, 2, b"\xff\0"), "not text"),
        (struct.pack("<IIH2sH2s", 0, 1, 2, b"a\0", 2, b"b\0"), "names a as an alias of b"),
    ],
)
def test_absurd_headers(ct2: Path, body: bytes, reason: str) -> None:
    head = struct.pack("<IH12sI", 6, 12, b"WhisperSpec\0", 3)
    (ct2 / "model.bin").write_bytes(head + body)
    refused(ct2, reason)


def test_everything_wrong_is_said_at_once(ct2: Path) -> None:
    def change(records: dict[str, model_bin.StoredVariable]) -> None:
        del records["encoder/conv1/bias"]
        records["decoder/layer_1/ffn/linear_0/bias"] = model_bin.StoredVariable(
            "decoder/layer_1/ffn/linear_0/bias", "float32", (3,), bytes(12)
        )
        records["zzz"] = model_bin.StoredVariable("zzz", "float32", (), bytes(4))

    rewrite(ct2, change)
    refused(
        ct2,
        r"conv1/bias is missing; zzz does not belong there; .*linear_0/bias has the shape \(3,\) instead of \(64,\)$",
    )


@pytest.mark.parametrize(
    ("stored", "told"),
    [("encoder/conv1/bias", r"encoder.conv1.bias"), ("decoder/layer_norm/gamma", r"decoder.norm.weight")],
)
def test_a_weight_that_is_no_number(ct2: Path, stored: str, told: str) -> None:
    def change(records: dict[str, model_bin.StoredVariable]) -> None:
        assert records[stored].shape == (16,)
        records[stored] = model_bin.StoredVariable(stored, "float32", (16,), struct.pack("<16f", *[float("nan")] * 16))

    rewrite(ct2, change)
    refused(ct2, f"{told} holds values that are not finite")


def test_another_activation(ct2: Path) -> None:
    def change(records: dict[str, model_bin.StoredVariable]) -> None:
        records["decoder/activation"] = model_bin.StoredVariable("decoder/activation", "int8", (), b"\x00")

    rewrite(ct2, change)
    refused(ct2, "decoder/activation is 0 instead of 3", by=["torch"])  # CTranslate2 knows it


def test_vocabulary_of_another_model(ct2: Path) -> None:
    tokens = json.loads((ct2 / "vocabulary.json").read_text())
    (ct2 / "vocabulary.json").write_text(json.dumps([*tokens, "more"]))
    refused(ct2, "the vocabulary has 2309 tokens and the model 2308")
    assert CliRunner().invoke(program, ["models", "info", str(ct2)]).exit_code == 5


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"suppress_ids": [99999]}, "suppress_ids names token 99999"),
        ({"suppress_ids": ["rm"]}, "not a list of token ids"),
        ({"alignment_heads": [[7, 0]]}, "alignment_heads names layer 7, head 0"),
        ({"alignment_heads": [[0]]}, "not a list of pairs"),
        ([], "not a JSON object"),
    ],
)
def test_settings_that_fit_no_model(ct2: Path, config: Any, reason: str) -> None:
    (ct2 / "config.json").write_text(json.dumps(config))
    refused(ct2, reason)


class Trap:
    """Unpickled by `pickle`, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_does_not_run(originals: dict[str, Path], tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "model.pt"
    document = torch.load(originals["openai"], weights_only=True)
    torch.save(document | {"extra": Trap(trap)}, path)
    refused(path, "holds more than weights; none of its code was run")
    path.write_bytes(pickle.dumps(Trap(trap)))
    refused(path, "damaged or not a torch checkpoint")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists(), "the trap works"


def test_damaged_checkpoint_files(originals: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    data = originals["openai"].read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 10):
        path.write_bytes(data[:size])
        refused(path, "damaged or not a torch checkpoint")


def test_huge_tensors_out_of_a_small_file(originals: dict[str, Path], tmp_path: Path) -> None:
    document = torch.load(originals["openai"], weights_only=True)
    path = tmp_path / "model.pt"
    state, dims = document["model_state_dict"], document["dims"]
    state["decoder.token_embedding.weight"] = torch.zeros(1).expand(1 << 24, 16)
    torch.save(document | {"dims": dims | {"n_vocab": 1 << 24}}, path)
    refused(path, "tensors are larger than the file")
    torch.save(document | {"dims": dims | {"n_text_layer": 10**9}}, path)
    refused(path, "n_text_layer is 1000000000")
    torch.save(document | {"dims": dims | {"n_text_layer": "2"}}, path)
    refused(path, "dims must be whole numbers")
    torch.save({"weights": 1}, path)
    refused(path, "no dims and model_state_dict")


def test_hugging_face_folders(hf: Path) -> None:
    tensors = load_file(hf / "model.safetensors")
    del tensors["model.encoder.conv1.bias"]
    save_file(tensors, hf / "model.safetensors")
    refused(hf, "model.encoder.conv1.bias is missing$")
    data = (hf / "model.safetensors").read_bytes()
    (hf / "model.safetensors").write_bytes(data[:-100])
    refused(hf, "damaged or not a safetensors file")
    (hf / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + data)
    refused(hf, "damaged or not a safetensors file")
    (hf / "model.safetensors").unlink()
    index = {"weight_map": {"x": "../../secret.safetensors"}}
    (hf / "model.safetensors.index.json").write_text(json.dumps(index))
    (hf / "other.safetensors").write_bytes(data)
    refused(hf, "names a file elsewhere")


def test_hugging_face_model_of_another_kind(hf: Path) -> None:
    config = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps(config | {"model_type": "bart", "decoder_ffn_dim": 5}))
    refused(hf, "model_type is 'bart' instead of 'whisper'; decoder_ffn_dim is not four times d_model")


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is not a model of a known format: a folder with model.bin")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("suppress_ids", [1_000_000], "suppress_ids names token 1000000"),
        ("suppress_ids_begin", [-5_000_000], "suppress_ids_begin names token -5000000"),
        ("lang_ids", [10**9], "lang_ids names token 1000000000"),
        ("alignment_heads", [[70, 90]], "alignment_heads names layer 70, head 90"),
    ],
)
def test_ctranslate2_never_sees_ids_that_do_not_exist(ct2: Path, key: str, value: Any, reason: str) -> None:
    config = json.loads((ct2 / "config.json").read_text())
    (ct2 / "config.json").write_text(json.dumps(config | {key: value}))
    transcription_refused(ct2, reason)


@pytest.mark.parametrize("change", [lambda tokens: [*tokens, "more"], lambda tokens: tokens[:-1]])
def test_ctranslate2_never_sees_another_vocabulary(ct2: Path, change: Callable[[list[str]], list[str]]) -> None:
    tokens = json.loads((ct2 / "vocabulary.json").read_text())
    (ct2 / "vocabulary.json").write_text(json.dumps(change(tokens)))
    transcription_refused(ct2, "the vocabulary has")


def test_ctranslate2_misses_a_tensor(ct2: Path) -> None:
    rewrite(ct2, lambda records: records.pop("decoder/layer_0/ffn/linear_0/weight") and None)
    transcription_refused(ct2, "decoder/layer_0/ffn/linear_0/weight is missing")


def test_a_vocabulary_nested_without_end(ct2: Path) -> None:
    (ct2 / "vocabulary.json").write_text("[" * 100_000)
    transcription_refused(ct2, "cannot read the vocabulary")


def transcription_refused(folder: Path, reason: str) -> None:
    args = ["transcribe", str(EXAMPLE), "--model", str(folder), "-o", str(folder.parent / "out")]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 5
    assert reason in result.stderr
    assert not (folder.parent / "out").exists()


def test_a_flipped_bit_in_a_pt(originals: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(originals["openai"].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.pt").write_bytes(data)
    refused(tmp_path / "model.pt", "damaged")


def test_a_compressed_pt(originals: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(originals["openai"]) as source, zipfile.ZipFile(tmp_path / "model.pt", "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member), zipfile.ZIP_DEFLATED)
    refused(tmp_path / "model.pt", "is compressed")


def test_ctranslate2_never_sees_a_matrix_of_another_shape(ct2: Path) -> None:
    """It would compute with what lies behind it in memory."""

    def shrink(records: dict[str, model_bin.StoredVariable]) -> None:
        name = "decoder/layer_0/ffn/linear_1/weight"
        matrix = records[name]
        rows, columns = matrix.shape
        data = matrix.data[: len(matrix.data) // columns]
        records[name] = model_bin.StoredVariable(name, matrix.dtype, (rows, 1), data)

    rewrite(ct2, shrink)
    transcription_refused(ct2, "decoder/layer_0/ffn/linear_1/weight has the shape (16, 1) instead of (16, 64)")


def test_ctranslate2_never_sees_a_file_of_another_version(ct2: Path) -> None:
    """What cannot be checked is not run, whatever it says of itself."""
    data = bytearray((ct2 / "model.bin").read_bytes())
    data[0] = 5
    (ct2 / "model.bin").write_bytes(data)
    transcription_refused(ct2, "version")
