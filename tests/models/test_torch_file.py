"""Checkpoints of torch, read without it: the same values, and nothing else gets in."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtasr.errors import ModelIntegrityError
from mtasr.models.speakers.torch_file import read_tensors

TENSORS = {
    "encoder.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7,
    "encoder.bias": torch.tensor(0.25),
    "steps": torch.tensor(12, dtype=torch.int64),
}


def saved(document: object) -> bytes:
    stream = io.BytesIO()
    torch.save(document, stream)
    return stream.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return stream.getvalue()


def with_pickle(pickled: bytes, **others: bytes) -> bytes:
    return zipped({"archive/data.pkl": pickled} | {f"archive/{name}": data for name, data in others.items()})


def read(data: bytes, tmp_path: Path, **options: Any) -> dict[str, np.ndarray]:
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    return read_tensors(path, **options)


def refused(data: bytes, tmp_path: Path, reason: str, **options: Any) -> None:
    with pytest.raises(ModelIntegrityError, match=reason):
        read(data, tmp_path, **options)


@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_values_are_those_that_torch_saved(tmp_path: Path, inside: str | None) -> None:
    document = TENSORS if inside is None else {"epoch": 3, "rates": [0.1, None, True], inside: OrderedDict(TENSORS)}
    arrays = read(saved(document), tmp_path, inside=inside)
    assert list(arrays) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert arrays[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True)


def test_parts_of_one_block(tmp_path: Path) -> None:
    block = torch.arange(10.0)
    arrays = read(saved({"first": block[:4], "rest": block[4:].reshape(2, 3)}), tmp_path)
    np.testing.assert_array_equal(arrays["first"], np.arange(4.0))
    np.testing.assert_array_equal(arrays["rest"], np.arange(4.0, 10.0).reshape(2, 3))


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(saved(TENSORS))
    program = f"""
import sys
from pathlib import Path
from mtasr.models.speakers.torch_file import read_tensors
assert len(read_tensors(Path({str(path)!r}))) == 3
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_truncated_anywhere(tmp_path: Path, part: float) -> None:
    data = saved(TENSORS)
    refused(data[: int(len(data) * part)], tmp_path, "is damaged")


def test_every_damaged_byte_of_the_pickle_is_an_error_or_harmless(tmp_path: Path) -> None:
    files = members(saved(TENSORS))
    pickled = files.pop("archive/data.pkl")
    for place in range(len(pickled)):
        changed = pickled[:place] + bytes([pickled[place] ^ 0x15]) + pickled[place + 1 :]
        try:
            arrays = read(zipped({"archive/data.pkl": changed} | files), tmp_path)
        except ModelIntegrityError:
            continue
        assert all(isinstance(each, np.ndarray) for each in arrays.values())


class Trap:
    """Unpickled by `pickle`, this makes a folder."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def traps(canary: Path) -> dict[str, bytes]:
    code = f"__import__('os').mkdir({str(canary)!r})"
    touch = f"touch {canary}"
    return {
        "os.system": pickle.dumps(Trap(os.system, touch), protocol=2),
        "eval": pickle.dumps(Trap(eval, code), protocol=2),
        "exec": pickle.dumps({"weights": Trap(exec, code)}, protocol=2),
        "protocol 0": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "an instance": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "protocol 4": pickle.dumps(Trap(os.system, touch), protocol=4),
        "a method": pickle.dumps(Trap(Path(canary).mkdir), protocol=2),
    }


@pytest.mark.parametrize("kind", [*traps(Path("canary"))])
def test_code_does_not_run(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    pickled = traps(canary)[kind]
    refused(with_pickle(pickled), tmp_path, "none of its code was run")
    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists(), "the trap works"


def test_code_beside_the_weights_does_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    document = {"state_dict": TENSORS, "hyper_parameters": Trap(os.mkdir, str(canary))}
    refused(saved(document), tmp_path, r"none of its code was run \((posix|nt)\.mkdir\)", inside="state_dict")
    assert not canary.exists()


def test_names_that_are_listed_stay_words(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    document = {"state_dict": TENSORS, "task": Trap(os.mkdir, str(canary))}
    arrays = read(saved(document), tmp_path, inside="state_dict", inert=("posix mkdir", "nt mkdir"))
    assert list(arrays) == list(TENSORS)
    assert not canary.exists()


def test_a_storage_cannot_be_called(tmp_path: Path) -> None:
    refused(with_pickle(b"\x80\x02ctorch\nFloatStorage\n(K\x01tR."), tmp_path, "a call of torch.FloatStorage")


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"", "none of its code was run"),
        (b"\x80\x02", "none of its code was run"),
        (b"\x80\x02.", "none of its code was run"),
        (b"\x80\x02}", "exhausted"),
        (b"\x80\x02}q\x00h\x07.", "none of its code was run"),
        (b"\x80\x02t.", "a missing mark"),
        (b"\x80\x02(.", "a misplaced mark"),
        (b"\x80\x02](K\x01u.", "a misplaced list"),
        (b"\x80\x02}]K\x01s.", "a key that is neither"),
        (b"\x80\x02X\xff\xff\xff\x7fab.", "none of its code was run"),
        (b"\x80\x02\x82\x01.", "the opcode EXT1"),
        (b"\x80\x02}.", "^$"),
        (b"\x80\x02].", "holds no dictionary of tensors"),
        (b"\x80\x02}U\x01a" + b"K\x01s.", "the opcode SHORT_BINSTRING"),
    ],
)
def test_absurd_pickles(tmp_path: Path, pickled: bytes, reason: str) -> None:
    if reason == "^$":
        assert read(with_pickle(pickled), tmp_path) == {}
    else:
        refused(with_pickle(pickled), tmp_path, reason)


def test_a_memo_of_four_billion_entries_takes_no_memory(tmp_path: Path) -> None:
    pickled = b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFFE) + b"."
    assert read(with_pickle(pickled), tmp_path) == {}


def test_other_kinds_of_numbers(tmp_path: Path) -> None:
    refused(saved({"a": torch.zeros(3, dtype=torch.float64)}), tmp_path, "torch.DoubleStorage")
    refused(saved({"a": torch.zeros(3, dtype=torch.bfloat16)}), tmp_path, "torch.BFloat16Storage")
    refused(saved({"a": torch.zeros(3).to_sparse()}), tmp_path, "none of its code was run")


def test_tensors_that_are_no_blocks(tmp_path: Path) -> None:
    refused(saved({"a": torch.zeros(3, 4).T}), tmp_path, "a is not a contiguous part")
    refused(saved({"a": torch.zeros(6)[::2]}), tmp_path, "a is not a contiguous part")
    refused(saved({"a": torch.zeros(1).expand(1 << 30, 1 << 20)}), tmp_path, "a is not a contiguous part")
    refused(saved({"a": torch.zeros(0, 3)}), tmp_path, "a tensor of an unknown kind")


def test_a_tensor_past_the_end_of_its_block(tmp_path: Path) -> None:
    files = members(saved({"a": torch.zeros(4), "b": torch.zeros(4)}))
    short = files | {"archive/data/1": files["archive/data/1"][:-4]}
    refused(zipped(short), tmp_path, "block 1 has 12 bytes instead of 4 values")
    del short["archive/data/1"]
    refused(zipped(short), tmp_path, "archive/data/1 is missing")


def test_one_block_under_many_names(tmp_path: Path) -> None:
    """Written out, it would fill the disk."""
    block = torch.zeros(1000)
    refused(saved({str(index): block for index in range(100)}), tmp_path, "its tensors are larger than the file")


def test_zip_bombs(tmp_path: Path) -> None:
    files = members(saved({"a": torch.zeros(1 << 20)}))
    refused(zipped(files, zipfile.ZIP_DEFLATED), tmp_path, "a member is compressed")
    # All entries of the directory lead to the same megabytes.
    data = bytearray(saved({"a": torch.zeros(1 << 16), "b": torch.zeros(1 << 16), "c": torch.zeros(4)}))
    place = data.rindex(b"archive/data/2") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 20 : place + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    refused(bytes(data), tmp_path, "its members are larger than the file")


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("archive/data.pkl", b"\x80\x02}.")
    refused(stream.getvalue(), tmp_path, "a member is there twice")


def test_bytes_in_the_other_order(tmp_path: Path) -> None:
    refused(with_pickle(b"\x80\x02}.", byteorder=b"big"), tmp_path, "not little-endian")


def test_a_pickle_that_is_too_large(tmp_path: Path) -> None:
    refused(with_pickle(b"\x80\x02" + b"}0" * (1 << 20) + b"}."), tmp_path, "no data.pkl of a sensible size")
    refused(zipped({"archive/other": b""}), tmp_path, "no data.pkl")


def test_a_flipped_bit(tmp_path: Path) -> None:
    data = bytearray(saved({"a": torch.zeros(1000)}))
    data[len(data) // 2] ^= 1
    refused(bytes(data), tmp_path, "is damaged")


def test_strides_of_axes_with_one_entry_say_nothing(tmp_path: Path) -> None:
    tensor = torch.arange(3.0).as_strided((1, 3), (7, 1))
    np.testing.assert_array_equal(read(saved({"a": tensor}), tmp_path)["a"], [[0, 1, 2]])
    refused(saved({"a": torch.arange(6.0).reshape(2, 3).T}), tmp_path, "a is not a contiguous part")
