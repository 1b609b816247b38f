"""docs/guide/stores.md: its commands run in the order of the page, against a bucket on loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from object_store import ObjectStore

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "stores.md"


#: mtasr with a model that always says the same.
PROGRAM = f"{sys.executable} {ROOT / 'tests' / 'fake_model.py'}"


@pytest.mark.slow
def test_commands(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("interview.flac", "monday/first.flac", "monday/rooms/second.flac"):
        store.put(key, (ROOT / "examples" / "interview.flac").read_bytes())
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for command in block.splitlines():
        assert command.startswith("mtasr ")
        done = subprocess.run(
            ["bash", "-c", command.replace("mtasr", PROGRAM, 1)],
            cwd=tmp_path,
            env=os.environ | store.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (command, done.stderr)
    names = [f"texts/{name}.{form}" for name in ("first", "rooms/second") for form in ("json", "srt")]
    assert store.listed("texts") == names
    whole = (tmp_path / "interview.srt").read_bytes()
    assert (tmp_path / "listed" / "interview.srt").read_bytes() == whole
    assert store.get("texts/first.srt") == whole
