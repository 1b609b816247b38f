from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtasr.batch.inputs import Input, gather, recordings
from mtasr.errors import InputError, InputNotFoundError, UsageError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.wav", "a.MP3", "notes.txt", ".hidden.wav", "day 1/c.mkv", "day 1/a.wav", "day 1/night/d.opus",
        ".git/e.wav", "[x].wav",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    return tmp_path


def sources(*named: str, **settings: object) -> list[str]:
    return [each.source for each in gather(named, **settings)]  # type: ignore[arg-type]


def test_a_folder_gives_its_recordings_by_name(tree: Path) -> None:
    assert sources(".") == ["[x].wav", "a.MP3", "b.wav"]
    assert sources(f"{tree}/") == [f"{tree}/[x].wav", f"{tree}/a.MP3", f"{tree}/b.wav"]


def test_subfolders_on_request_and_their_place_is_kept(tree: Path) -> None:
    found = gather(["."], recursive=True)
    assert found[3:] == [
        Input("day 1/a.wav", Path("day 1")),
        Input("day 1/c.mkv", Path("day 1")),
        Input("day 1/night/d.opus", Path("day 1/night")),
    ]
    assert [str(each.stem) for each in found[3:]] == ["day 1/a", "day 1/c", "day 1/night/d"]


def test_a_recording_is_no_list(tree: Path) -> None:
    with pytest.raises(InputError, match=r"^a\.MP3: is a recording, not a list of them; name it without --files-from$"):
        gather([], files_from="a.MP3")


def test_links_to_folders_are_not_followed(tree: Path) -> None:
    (tree / "day 1" / "round").symlink_to(tree)
    assert len(gather(["."], recursive=True)) == 6


def test_order_is_that_of_the_command_line_and_nothing_comes_twice(tree: Path) -> None:
    assert sources("b.wav", "day 1", "./b.wav", ".", "-") == [
        "b.wav", "day 1/a.wav", "day 1/c.mkv", "[x].wav", "a.MP3", "-",
    ]  # fmt: skip
    (tree / "link.wav").symlink_to(tree / "b.wav")
    assert sources("b.wav", "link.wav") == ["b.wav", "link.wav"]


def test_patterns_that_no_shell_expanded(tree: Path) -> None:
    assert sources("*.wav") == ["[x].wav", "b.wav"]
    assert sources("**/*.wav") == ["[x].wav", "b.wav", "day 1/a.wav"]
    assert sources("[x].wav") == ["[x].wav"], "a file of that name goes before"
    assert sources("day*") == ["day*"], "a folder is no match; the pattern is reported as a missing file"
    assert sources("no*.ogg") == ["no*.ogg"]


@pytest.mark.parametrize("content", [b"b.wav\r\n\n  \nday 1\n*.wav\n", b"b.wav\0day 1\0*.wav\0"])
def test_a_list_is_taken_literally(tree: Path, content: bytes) -> None:
    (tree / "list").write_bytes(content)
    assert sources("a.MP3", files_from="list") == ["a.MP3", "b.wav", "day 1/a.wav", "day 1/c.mkv", "*.wav"]


def test_a_list_on_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"b\xff.wav\n")))
    assert [os.fsencode(each) for each in sources(files_from="-")] == [b"b\xff.wav"]


def test_a_list_with_a_byte_order_mark(tree: Path) -> None:
    (tree / "list").write_bytes(b"\xef\xbb\xbfa.MP3\nb.wav\n")
    assert sources(files_from="list") == ["a.MP3", "b.wav"]


def test_a_pipe_that_is_not_named_is_skipped(tree: Path) -> None:
    os.mkfifo(tree / "pipe.wav")
    assert "pipe.wav" not in [*sources("."), *sources("*.wav")]
    assert sources("pipe.wav") == ["pipe.wav"]


def test_a_subfolder_that_goes_away_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "sub").mkdir()
    found = recordings(str(tmp_path), recursive=True)
    assert next(found).source == str(tmp_path / "a.wav")
    (tmp_path / "sub").rmdir()
    assert not list(found)
    with pytest.raises(InputError, match="gone: cannot be read: No such file"):
        list(recordings(str(tmp_path / "gone"), recursive=True))


def test_what_makes_no_sense(tree: Path) -> None:
    (tree / "empty").mkdir()
    (tree / "nothing").write_text("\n")
    with pytest.raises(UsageError, match="no recording is named"):
        gather([])
    with pytest.raises(UsageError, match="only once"):
        gather(["-"], "-")
    with pytest.raises(InputNotFoundError, match=r"^empty: this folder has no recordings; --recursive"):
        gather(["b.wav", "empty"])
    with pytest.raises(InputError, match=r"^nothing: the list names no recording$"):
        gather([], "nothing")
    with pytest.raises(InputNotFoundError, match=r"^gone: cannot be read: No such file"):
        gather([], "gone")
