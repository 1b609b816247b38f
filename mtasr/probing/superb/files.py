"""What the readers of corpora share."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtasr.errors import ManifestError
from mtasr.text_files import read_text


def only(folders: Sequence[Path], name: str) -> Path:
    """The one folder of a corpus. Raises `ManifestError` for several."""
    if len(folders) != 1:
        raise ManifestError(f"{name} is one folder, and {len(folders)} were given")
    return folders[0]


def fields_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of the lines of a file that are not empty, separated by white space, with the lines' numbers."""
    for number, line in enumerate(read_text(path, ManifestError).split("\n"), start=1):
        if line.strip():
            yield number, line.split()


def table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with these columns among others, with their lines. Raises `ManifestError`."""
    rows = csv.DictReader(io.StringIO(read_text(path, ManifestError), newline=""))
    try:
        missing = set(columns) - set(rows.fieldnames or ())
        if missing:
            raise ManifestError(f"{path}: has no column {sorted(missing)[0]!r}")
        for row in rows:
            values = {name: row[name] for name in columns}
            if not all(values.values()):
                raise ManifestError(f"{path}, line {rows.line_num}: a field is empty")
            yield rows.line_num, values
    except csv.Error as exc:
        raise ManifestError(f"{path}, line {rows.line_num}: {exc}") from exc


def inside(folder: Path, name: str, origin: str) -> Path:
    """A path that a list names, within the folder. Raises `ManifestError` for one that leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ManifestError(f"{origin}: {name!r} is not a path in the corpus")
    return folder / path


def first_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that exists. Raises `ManifestError` if none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ManifestError(f"{folder}: has no {' or '.join(names)}")


def subfolder(folder: Path, name: str) -> Path:
    """Raises `ManifestError` if the folder has no such folder."""
    if not (folder / name).is_dir():
        raise ManifestError(f"{folder}: has no folder {name}")
    return folder / name
