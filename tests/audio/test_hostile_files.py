"""Whatever a file holds, each of our readers gives a result or an error of ours, and soon."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from damaged import hostile
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import items, tar_of

from mtasr.audio.video import check_subtitles
from mtasr.batch.inputs import gather
from mtasr.batch.journal import Entry
from mtasr.batch.outputs import Job
from mtasr.checkpoints import settings as model_settings
from mtasr.cli import program
from mtasr.data.captions import read_captions
from mtasr.data.ingest import IngestOptions, ingest
from mtasr.data.reading import read_records
from mtasr.errors import MtasrError
from mtasr.evaluation import read_manifest
from mtasr.formats import transcript_json
from mtasr.models import folder as model_folder
from mtasr.text_files import read_text
from mtasr.tokenizer.vocabulary import read_vocabulary
from mtasr.training.config import read_config

SRT = b"1\n00:00:00,320 --> 00:00:04,652\nGood <i>morning</i>\n\n2\n01:00:04,7 --> 01:00:08,3\n{\\an8}Could you\n\n"
VTT = b"WEBVTT\n\nSTYLE\n::cue {}\n\n00:01.000 --> 00:02.500 align:start\n<v Ann>Bread &amp; butter\n"
ASS = b"[Events]\nDialogue: 0,0:00:00.10,0:00:01.00,Default,,0,0,0,,Hello\n"
SEGMENT = {
    "id": 0, "start": 0.5, "end": 2, "text": "Good day.", "tokens": [1], "avg_logprob": -0.2, "compression_ratio": 1.0,
    "no_speech_prob": 0.0, "temperature": 0.0, "language": "en", "speaker": "A",
    "words": [{"word": "Good", "start": 0.5, "end": 1, "probability": 0.9}],
}  # fmt: skip
TRANSCRIPT = json.dumps({
    "language": "en", "language_probability": 0.9, "duration": 3, "text": "Good day.", "segments": [SEGMENT],
    "coverage": {"speech": 2, "speech_without_text": [[2, 2.5]], "text_without_speech": []},
}).encode()  # fmt: skip
RECORD = json.dumps({
    "id": "a", "audio": "a.wav", "duration": 3, "language": "en", "task": "transcribe", "source": "s", "timed": True,
    "cues": [{"start": 0, "end": 1, "text": "Hello"}],
}).encode()  # fmt: skip
CLIP = {"audio": "a.wav", "text": "Hello", "translation": "Hi", "language": "de", "segments": [{"text": "Hello"}]}
CUT = {
    "id": "c", "start": 0.0, "duration": 2.0,
    "recording": {"id": "r", "duration": 5.0, "sources": [{"source": "a.wav"}]},
    "supervisions": [{"start": 0.1, "duration": 1.0, "text": "Hello", "language": "en"}],
}  # fmt: skip
CSV = b'audio,text,language,duration\na.wav,"Hello, you",de,3\nb.wav,Bye,,\n'
TOML = b'language = "de"\noutput_format = ["srt", "json"]\ntemperature = 0\n[evaluate]\nbeam_size = 1\n'
YAML = b"model: base\noutput: out\nsteps: 10\ndata:\n  train: [a.jsonl]\noptimizer:\n  learning_rate: 1e-5\n"
NOTES = b"\n".join(
    json.dumps(line).encode()
    for line in [
        {"channel": 0, "start": 0, "samples": 16000, "result": {
            "segments": [SEGMENT], "position": 1.0, "translation": [],
            "alternatives": [{"start": 0, "end": 1, "speaker": None, "readings": [{"text": "a", "avg_logprob": 0}]}],
        }},
        {"content": "0" * 64}, {"channel": 0, "guesses": [["en", 0.98]]}, {"content": "0", "files": {"a.srt": "0"}},
    ]
)  # fmt: skip
SHARD = tar_of([*items(0), *items(1)])
CONFIG = json.dumps(
    {"alignment_heads": [[0, 1]], "lang_ids": [1], "suppress_ids": [1, 2], "suppress_ids_begin": [2]}
).encode()
CACHED = json.dumps(
    {"version": 1, "repo": "a/b", "revision": "0", "files": {"model.bin": {"size": 1, "sha256": "0"}}}
).encode()


def _ingest(path: Path) -> object:
    return list(ingest(path, IngestOptions(), lambda line: None))


def _config_show(path: Path) -> object:
    """As the user's settings; the command says what it makes of them."""
    result = CliRunner().invoke(
        program, ["config", "show", "evaluate"], env={"XDG_CONFIG_HOME": str(path.parent.parent)}
    )
    assert result.exit_code in {0, 2}, result.output
    assert result.stderr.count("\n") <= 1, result.stderr
    return result


def _notes(path: Path) -> object:
    notes = Entry(path, Job("/nonexistent", Path("/"), "nonexistent", ("srt",)))
    return notes.is_done(), notes._read()


def _model_settings(path: Path) -> object:
    document = model_settings.read_json(path)
    ids = model_settings.token_ids(document, "suppress_ids", path)
    return ids, model_settings.head_pairs(document, path)


Reader = Callable[[Path], object]

READERS: list[tuple[str, str, Reader, list[bytes]]] = [
    ("captions", "a.srt", read_captions, [SRT]),
    ("captions", "a.vtt", read_captions, [VTT]),
    ("captions", "a.json", read_captions, [TRANSCRIPT, b'{"text": "Hello", "language": "French"}']),
    ("captions", "a.txt", read_captions, [b"Hello there.\n"]),
    ("subtitles for a video", "b.srt", check_subtitles, [SRT]),
    ("subtitles for a video", "b.ass", check_subtitles, [ASS]),
    ("manifest", "c.json", read_manifest, [json.dumps([CLIP, CLIP]).encode()]),
    ("manifest", "c.jsonl", read_manifest, [json.dumps(CLIP).encode()]),
    ("manifest", "c.csv", read_manifest, [CSV]),
    ("transcript", "d.json", transcript_json.read, [TRANSCRIPT]),
    ("records", "e.jsonl", lambda path: list(read_records(path)), [RECORD, RECORD + b"\n\n" + RECORD]),
    ("shard", "e.tar", lambda path: list(read_records(path)), [SHARD]),
    ("data", "f.csv", _ingest, [CSV]),
    ("data", "f.tsv", _ingest, [CSV.replace(b",", b"\t")]),
    ("data", "f.json", _ingest, [json.dumps([CUT]).encode(), json.dumps([CLIP]).encode(), RECORD]),
    ("data", "f.jsonl", _ingest, [json.dumps(CUT).encode(), json.dumps(CLIP).encode(), RECORD]),
    ("settings", "mtasr/config.toml", _config_show, [TOML]),
    ("training", "g.yaml", read_config, [YAML]),
    ("notes", "h.jsonl", _notes, [NOTES]),
    ("list", "i.txt", lambda path: gather([], str(path)), [b"a.wav\nb.wav\n", b"a.wav\0b.wav"]),
    ("model settings", "config.json", _model_settings, [CONFIG]),
    ("model provenance", "mtasr.json", lambda path: model_folder.Provenance.read(path.parent), [CACHED]),
    ("vocabulary", "v/vocabulary.json", lambda path: read_vocabulary(path.parent), [b'["a", "b"]']),
    ("vocabulary", "w/vocabulary.txt", lambda path: read_vocabulary(path.parent), [b"a\nb\n"]),
    ("text", "j.txt", read_text, ["\ufeffHello, Zoë".encode()]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def survives(read: Reader, path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    began = time.process_time()
    with contextlib.suppress(MtasrError):
        read(path)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("name", "read", "wholes"), [each[1:] for each in READERS], ids=[f"{what}: {name}" for what, name, *_ in READERS]
)
@given(data=st.data())
@settings(max_examples=min(60, settings.default.max_examples))
def test_any_file_gives_a_result_or_an_error_of_ours(
    folder: Path, name: str, read: Reader, wholes: Sequence[bytes], data: st.DataObject
) -> None:
    survives(read, folder / name, data.draw(hostile(wholes)))


@pytest.mark.parametrize(("name", "read", "wholes"), [each[1:] for each in READERS])
def test_whole_ones_are_read(folder: Path, name: str, read: Reader, wholes: Sequence[bytes]) -> None:
    """What is damaged above is nothing that would be refused anyway."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    for whole in wholes:
        path.write_bytes(whole)
        read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.jsonl", b'{"audio": "a", "text": ' + b"9" * 5000 + b"}"),
        *((name, b"[" * 100_000) for name in ("a.json", "c.json", "c.jsonl", "d.json", "e.jsonl", "f.json", "f.jsonl")),
        *((name, b"[" * 100_000) for name in ("config.json", "v/vocabulary.json", "g.yaml")),
        *((name, b'{"audio": ' * 100_000) for name in ("a.json", "c.jsonl", "d.json", "e.jsonl", "f.jsonl")),
        ("mtasr/config.toml", b"language = " + b"[" * 100_000),
        ("mtasr/config.toml", b"a." * 5_000 + b"b = 1"),
        ("mtasr/config.toml", b"language = 'a'\nlanguage = 'b'"),
        ("mtasr/config.toml", b"language = \xff"),
        ("mtasr/config.toml", b"a." * 400_000 + b"b = 1"),
        ("e.jsonl", b'{"audio": "a", "duration": 1, "cues": [], "language": []}'),
        ("e.jsonl", b'{"audio": "a", "duration": 1' + b"0" * 400 + b', "cues": []}'),
        ("f.tsv", b"audio\ttext\n" + b"a" * 5000 + b"\tHello\n"),
        ("f.json", json.dumps([CUT | {"duration": 10**400}]).encode()),
        ("f.json", json.dumps([CLIP | {"duration": [1]}]).encode()),
        ("a.vtt", b"9" * 5000 + b":00:00.000 --> 00:01.000\nHello\n"),
        ("a.vtt", b"00:00.000 --> 00:01.000\n" + b"<" * 300_000),
        ("a.vtt", b"00:00.000 --> 00:01.000\n" + b"{\\" * 200_000),
        ("a.json", json.dumps({"segments": [SEGMENT | {"start": 10**400}]}).encode()),
        ("mtasr/config.toml", b"beam_size = 0x" + b"f" * 5000),
        ("mtasr.json", CACHED.replace(b'"size": 1', b'"size": 1e999')),
        ("mtasr.json", b"[" * 100_000),
        ("g.yaml", b"model: 2001-99-99"),
        ("g.yaml", b"data: &a {train: *a}"),
        ("h.jsonl", b"null\n" + b"[" * 100_000),
        ("h.jsonl", b'{"guesses": []}\n{"channel": [], "guesses": []}\n{"channel": 0, "guesses": [5]}'),
        ("h.jsonl", b'{"channel": 0, "start": 0, "samples": 5, "result": {"segments": [5]}}'),
        ("h.jsonl", b'{"files": {}}'),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value)[:30],
)
def test_what_was_found(folder: Path, name: str, content: bytes) -> None:
    [read] = [read for _, own, read, _ in READERS if own == name]
    survives(read, folder / name, content)


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 255))
def test_damaged_archives(folder: Path, more: bytes, place: int, value: int) -> None:
    data = bytearray(gzip.compress(RECORD + b"\n" + more, mtime=0))
    data[place % len(data)] = value
    survives(_ingest, folder / "k.jsonl.gz", bytes(data))
