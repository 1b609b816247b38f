"""Files of labels: what they say, and those that say it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtasr.errors import ManifestError
from mtasr.probing.labels import folds_of, read_labels


def test_lines_and_tables_say_the_same(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text(
        '{"audio": "x.wav", "split": "train", "label": "yes"}\n\n'
        '{"audio": "/y.wav", "split": "test", "start": 1.5, "end": 2, "label": "no", "other": "z.wav"}\n'
    )
    table.write_text("audio,split,start,end,label,other\nx.wav,train,,,yes,\n/y.wav,test,1.5,2,no,z.wav\n")
    first, second = read_labels(lines)
    assert (first.audio, first.split, first.start, first.end) == (tmp_path / "x.wav", "train", 0.0, None)
    assert (second.audio, second.start, second.end) == (Path("/y.wav"), 1.5, 2.0)
    assert second.fields == {"label": "no", "other": str(tmp_path / "z.wav")}
    for one, other in zip(read_labels(lines), read_labels(table), strict=True):
        assert (one.audio, one.split, one.start, one.end, one.fields) == (
            other.audio, other.split, other.start, other.end, other.fields,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "neither JSON lines nor CSV"),
        ("audio,label\n", "has no recordings"),
        ('{"audio": 1}', "'audio' is missing or no path"),
        ('{"split": "train"}', "'audio' is missing"),
        ('{"audio": "a\\u0000b"}', "no path"),
        ('{"audio": "a", "split": "all"}', "'split' must be one of train, dev, test"),
        ('{"audio": "a", "split": "dev", "fold": "1"}', "'fold' must be a name, and excludes"),
        ('{"audio": "a", "start": -1}', "'start' is not a time"),
        ('{"audio": "a", "start": NaN}', "'start' is not a time"),
        ('{"audio": "a", "end": true}', "'end' is not a time"),
        ('{"audio": "a", "start": 2, "end": 1}', "'end' is not after 'start'"),
        ('{"audio": "a", "other": 3}', "'other' is no path"),
        ('{"audio": "a"}\n{"audio"', "line 2: is not JSON"),
        ('{"audio": "a"}\n[1]', "line 2: is not an object"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_text(text)
    with pytest.raises(ManifestError, match=problem) as raised:
        read_labels(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_each_fold_is_tested_once_by_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("audio,fold\n" + "".join(f"{fold}-{n}.wav,{fold}\n" for fold in "abc" for n in range(20)))
    folds = folds_of(read_labels(path))
    assert len(folds) == 3
    for name, clips in zip("abc", folds, strict=True):
        assert {clip.audio.name[0] for clip in clips if clip.split == "test"} == {name}
        assert sum(clip.split == "test" for clip in clips) == 20
        assert {clip.split for clip in clips} == {"train", "dev", "test"}
        assert 2 <= sum(clip.split == "dev" for clip in clips) <= 16
    again = folds_of(read_labels(path))
    assert [[clip.split for clip in clips] for clips in again] == [[clip.split for clip in clips] for clips in folds]


def test_folds_must_be_several_and_of_all(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("audio,fold,split\na.wav,1,\nb.wav,,test\n")
    with pytest.raises(ManifestError, match="others have none"):
        folds_of(read_labels(path))
    path.write_text("audio,fold\na.wav,1\nb.wav,1\n")
    with pytest.raises(ManifestError, match="at least two are needed"):
        folds_of(read_labels(path))
