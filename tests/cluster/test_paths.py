from __future__ import annotations

from pathlib import Path

import pytest

from mtasr.cluster.paths import is_here, looked_for


def test_some_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From the whole list, without URLs, folders and what is missing; of shards, the tar file."""
    monkeypatch.chdir(tmp_path)
    names = [f"{number}.wav" for number in range(100)]
    for name in (*names, "shard.tar"):
        Path(name).write_bytes(b"x")
    found = looked_for(names)
    assert found == [str(tmp_path / name) for name in names[::7]]
    assert looked_for(["https://example.org/1.wav", str(tmp_path), "missing.wav"]) == []
    assert looked_for(["shard.tar/a.flac@0"]) == [str(tmp_path / "shard.tar")]
    assert is_here("shard.tar/a.flac@0")
    assert not is_here("other.tar/a.flac@0")
