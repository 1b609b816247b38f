"""A user without a writable home or cache has the packaged model, and could not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtasr.models import cache

PROGRAM = """
from mtasr.models import cache, resolve
folder = resolve("base", local_only=True)
print(folder, (folder / "model.bin").stat().st_size)
"""


@pytest.mark.weights
@pytest.mark.slow
def test_the_packaged_model_is_used_and_nothing_is_left(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("MTASR_CACHE", "XDG_CACHE_HOME")}
    environment |= {"HOME": os.devnull, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    folder, size = done.stdout.split()
    assert Path(folder).parent == tmp_path
    assert int(size) > 100_000_000
    (said,) = done.stderr.splitlines()
    assert "MTASR_CACHE names another folder" in said
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_gets_no_folder_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MTASR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    assert cache.root().is_absolute()
    assert not cache.holds(cache.location("base", "0"))
    assert cache.all_copies() == []
    with pytest.raises(OSError, match="Not a directory"):
        cache.root().mkdir(parents=True)
