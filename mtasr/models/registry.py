"""The published models, each pinned to one commit of its repository on the Hugging Face hub.

Names mean the same models as in faster-whisper, from the same repositories, with one exception: public catalogues give
the same turbo commit under `dropbox-dash` (used here) and under `mobiuslabsgmbh`.

Revisions, sizes and SHA-256 come from lock files and model catalogues of public projects; at least two of them state
each revision. The files of `base` and `tiny.en` were also hashed from the weights packages (`packages.py`). A file
without a hash here is checked against what the hub states about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mtasr.errors import ModelNotFoundError, UsageError
from mtasr.models.speakers.published import SPEAKER_MODELS
from mtasr.models.voices.published import VOICE_MODELS

DEFAULT_MODEL = "base"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One published model in CTranslate2 format."""

    name: str
    repo: str
    #: Commit of the repository, 40 hexadecimal digits.
    revision: str
    #: Bytes to download, all files together.
    size: int
    english_only: bool = False
    aliases: tuple[str, ...] = ()
    #: SHA-256 by file name, for the files whose hash is known.
    sha256: Mapping[str, str] = field(default_factory=dict)


def _spec(
    name: str,
    repo: str,
    size: int,
    revision: str,
    tokenizer: Mapping[str, str] | None = None,
    *,
    model_bin: str | None = None,
    config: str | None = None,
    english_only: bool = False,
    aliases: tuple[str, ...] = (),
) -> ModelSpec:
    weights = {file: digest for file, digest in (("model.bin", model_bin), ("config.json", config)) if digest}
    return ModelSpec(name, repo, revision, size, english_only, aliases, weights | dict(tokenizer or {}))


# The tokenizer depends only on the generation of the model, not on its size.
_MULTILINGUAL = {
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_ENGLISH = {
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_FEATURES_V3 = {
    "preprocessor_config.json": "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711",
    "vocabulary.json": "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1",
}
_V3 = _FEATURES_V3 | {"tokenizer.json": "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca"}
_TURBO = _FEATURES_V3 | {"tokenizer.json": "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd"}

_SPECS = (
    _spec("tiny", "Systran/faster-whisper-tiny", 78_203_619,
          "d90ca5fe260221311c53c58e660288d3deb8d356", _MULTILINGUAL,
          model_bin="dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1",
          config="a73a28cdfe1c43ccc7202fa333d1f89c202477271407ae9a7f19afa52039cac8"),
    _spec("tiny.en", "Systran/faster-whisper-tiny.en", 78_090_594,
          "0d3d19a32d3338f10357c0889762bd8d64bbdeba", _ENGLISH, english_only=True,
          model_bin="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
          config="14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
    _spec("base", "Systran/faster-whisper-base", 147_882_941,
          "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66", _MULTILINGUAL,
          model_bin="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
          config="56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    _spec("base.en", "Systran/faster-whisper-base.en", 147_770_000,
          "3d3d5dee26484f91867d81cb899cfcf72b96be6c", _ENGLISH, english_only=True,
          model_bin="2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef"),
    _spec("small", "Systran/faster-whisper-small", 486_212_372,
          "536b0662742c02347bc0e980a01041f333bce120", _MULTILINGUAL,
          model_bin="3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
          config="b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828"),
    _spec("small.en", "Systran/faster-whisper-small.en", 486_098_798,
          "d1d751a5f8271d482d14ca55d9e2deeebbae577f", _ENGLISH, english_only=True,
          model_bin="62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a",
          config="666a9605530ac1f61fa8177f3702b4dacec9966749e42610839fcc32661d5fae"),
    _spec("medium", "Systran/faster-whisper-medium", 1_530_571_735,
          "08e178d48790749d25932bbc082711ddcfdfbc4f", _MULTILINGUAL,
          model_bin="9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae",
          config="3622a2ddc41ec0e0fd4e68c13c6830f03b90c38d89aaad184de02c8c642cf807"),
    _spec("medium.en", "Systran/faster-whisper-medium.en", 1_530_457_748,
          "a29b04bd15381511a9af671baec01072039215e3", _ENGLISH, english_only=True,
          model_bin="11b220779aea4c6f3ce9d2549c8a95ea869ed84066864b999531ef53e594fe5b",
          config="4a1848ebabe7938d9797c15a2e8e4ce1d36e6fd4a43d096ae5955257c67c7962"),
    _spec("large-v1", "Systran/faster-whisper-large-v1", 3_089_578_414,
          "b07c8d4be0be90092aa01a29c975077acb8d15c9",
          model_bin="a3cce8081a5414206ab09a80aa410ebf9965feef52adafeead13f4a83398b1d1"),
    _spec("large-v2", "Systran/faster-whisper-large-v2", 3_089_578_858,
          "f0fe81560cb8b68660e564f55dd99207059c092e", _MULTILINGUAL,
          model_bin="bf2a9746382e1aa7ffff6b3a0d137ed9edbd9670c3b87e5d35f5e85e70d0333a",
          config="d86b7a7664a12559d644aa210a32ce9a7e03913e794b7ea4fb7182de69e273a7"),
    _spec("large-v3", "Systran/faster-whisper-large-v3", 3_090_835_702,
          "edaa852ec7e145841d8ffdb056a99866b5f0a478", _V3, aliases=("large",),
          model_bin="69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
          config="a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9"),
    _spec("large-v3-turbo", "dropbox-dash/faster-whisper-large-v3-turbo", 1_621_665_983,
          "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf", _TURBO, aliases=("turbo",),
          model_bin="e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
          config="b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e"),
    _spec("distil-small.en", "Systran/faster-distil-whisper-small.en", 335_542_354,
          "ef77d90526ccd62cde3808ee70626a01e5cf83e4", english_only=True,
          model_bin="1187de3982cdcf962a2fb8f797e429fb4651b875b18fe9ce50b58b52fc9072b7"),
    _spec("distil-medium.en", "Systran/faster-distil-whisper-medium.en", 792_060_626,
          "80ddfce281f77766d8943d63109199fc8145dfa5", english_only=True,
          model_bin="d4cb75d823dcd2647191064da76f026774c06c036908f38456165368d0e2d66a"),
    # No public source states the hashes of this one.
    _spec("distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1_516_110_000,
          "fe9b404fc56de3f7c38606ef9ba6fd83526d05e4", english_only=True),
    _spec("distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1_516_479_628,
          "c3058b475261292e64a0412df1d2681c06260fab", _V3, english_only=True,
          model_bin="b79368e19b6623813609431a6e5ee309a71506701ebc49fd7820e692dec7c5f5",
          config="90c55f775cc4e0bb17293d0bf12f96557a486f20dea886fabd8e6075a3588b21"),
    _spec("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2", 1_516_479_656,
          "9793ccc07920e0f830e1dba0343efcdf0ef8c903", english_only=True,
          model_bin="c58b88b8585ffcd2135fddaaf421ce72cb223b32edea70d156aed1dea319a119"),
)  # fmt: skip

#: By name, in the order in which they are listed.
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def find(name: str) -> ModelSpec | None:
    """The model of this name, alias or hub repository, if there is one."""
    if name in MODELS:
        return MODELS[name]
    return next((spec for spec in MODELS.values() if name in spec.aliases or name == spec.repo), None)


def unknown(name: str) -> ModelNotFoundError:
    """The error for a name that no model for transcribing has, with the names closest to it."""
    if name in SPEAKER_MODELS:
        return ModelNotFoundError(f"{name} is a speaker model, which tells voices apart and transcribes nothing")
    if name in VOICE_MODELS:
        return ModelNotFoundError(f"{name} is a voice, which speaks and transcribes nothing")
    known = [each for spec in MODELS.values() for each in (spec.name, *spec.aliases)] + [*SPEAKER_MODELS, *VOICE_MODELS]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return ModelNotFoundError(f"there is no model {name!r}; {hint}`mtasr models list` shows the names")


def english_only(name: str | None) -> bool:
    """Whether this is the name of a model that was trained for English only."""
    spec = find(name) if name is not None else None
    return spec is not None and spec.english_only


def check_use(name: str, language: str | None, task: str) -> None:
    """Raise `UsageError` for the name of a model that was not trained for the task or the language.

    The distilled models have a multilingual vocabulary but learnt only English; turbo did not learn to translate.
    """
    spec = find(name)
    if spec is None:
        return
    if task == "translate" and (spec.english_only or spec.name == "large-v3-turbo"):
        raise UsageError(f"{spec.name} was not trained to translate; use --model medium or --model large-v3")
    if spec.english_only and language not in {None, "en"}:
        raise UsageError(f"{spec.name} is English-only and does not know {language!r}; use a multilingual model")
