"""The page, the pictures and the results of a folder."""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from mtasr import plots
from mtasr.errors import InputError
from mtasr.probing.report import (
    add_results,
    best_layer,
    head_folder,
    merged,
    read_results,
    shown,
    slug,
    table,
    write_page,
    write_results,
)
from mtasr.probing.run import LayerFigure, ProbeResult

_SVG = "{http://www.w3.org/2000/svg}"


def result(encoder: str = "tiny", task: str = "keyword", **more: object) -> ProbeResult:
    fields = {
        "task": task, "area": "content", "encoder": encoder, "identity": "a1", "figure": "accuracy", "falls": False,
        "dev": 0.9, "figures": {"accuracy": 0.875, "majority": 0.5}, "learning_rate": 0.01, "weights": (0.25, 0.75),
        "sizes": (3.0, 1.0), "clips": {"train": 3, "dev": 1, "test": 1}, "parameters": 1234,
        "layers": (LayerFigure(layer=0, dev=0.6, test=0.5), LayerFigure(layer=1, dev=0.8, test=0.7)),
    }  # fmt: skip
    return ProbeResult(**fields | more)  # type: ignore[arg-type]


SEARCH = result(
    task="search",
    figure="MTWV",
    figures={"MTWV": 0.1234},
    learning_rate=None,
    weights=(),
    sizes=(),
    layer=1,
    parameters=0,
)


def test_shares_are_weights_times_sizes() -> None:
    assert result().shares == (0.5, 0.5)
    assert SEARCH.shares == ()


def test_results_of_other_runs_stay_and_older_ones_give_way(tmp_path: Path) -> None:
    write_results([result(), result("big")], tmp_path)
    newer = replace(result(), figures={"accuracy": 1.0, "majority": 0.5})
    write_results(merged(read_results(tmp_path), [newer, SEARCH]), tmp_path)
    found = read_results(tmp_path)
    assert found == [newer, result("big"), SEARCH]
    heads, rows = table(found)
    assert heads == ["Encoder", "keyword accuracy", "keyword majority", "search MTWV"]
    assert rows == [["tiny", "100.0 %", "50.0 %", "0.1234"], ["big", "87.5 %", "50.0 %", ""]]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "report.html", "keyword-layers.svg", "keyword-weights.svg", "search-layers.svg"}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"task": "keyword"}]', '[{"task": []}]', "[" * 100_000])
def test_a_damaged_file_of_results_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="is damaged or not a file of results"):
        read_results(tmp_path)


def test_numbers_of_results_must_be_numbers(tmp_path: Path) -> None:
    write_results([result()], tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    document[0]["dev"] = float("nan")
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="is damaged"):
        read_results(tmp_path)


def test_a_layer_without_figures_is_null(tmp_path: Path) -> None:
    layers = (LayerFigure(layer=0, dev=math.nan, test=math.nan), LayerFigure(layer=1, dev=0.8, test=0.7))
    write_results([result(layers=layers)], tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)[0]["layers"][0] == {"layer": 0, "dev": None, "test": None}
    (found,) = read_results(tmp_path)
    assert math.isnan(found.layers[0].dev)
    assert found.layers[1] == layers[1]
    assert best_layer(found) == layers[1]


def test_results_of_processes_that_write_at_once_all_stay(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_one, args=(f"encoder{number}", tmp_path)) for number in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    names = {found.encoder for found in read_results(tmp_path)}
    assert names == {f"encoder{number}{turn}" for number in range(3) for turn in range(5)}


def _write_one(encoder: str, folder: Path) -> None:
    for turn in range(5):
        add_results([result(f"{encoder}{turn}")], folder)


def test_the_page_says_all_and_trusts_nobody() -> None:
    page = io.StringIO()
    write_page([result("<b>&'\""), SEARCH], page)
    text = page.getvalue()
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "87.5 %" in text
    assert "0.1234" in text
    assert "http" not in text.replace("http://www.w3.org", "")  # self-contained
    assert "prefers-color-scheme: dark" in text
    assert text.count("<svg") == 3
    for picture in text.split("<svg")[1:]:
        ET.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")


def test_the_best_layer_is_that_of_dev() -> None:
    layers = (LayerFigure(layer=0, dev=0.2, test=0.9), LayerFigure(layer=1, dev=0.4, test=0.1))
    assert best_layer(result(layers=layers)) == layers[1]
    assert best_layer(result(layers=layers, falls=True)) == layers[0]
    assert best_layer(result(layers=())) is None


def test_names_become_parts_of_paths() -> None:
    assert slug("facebook/hubert base") == "facebook-hubert-base"
    assert slug("../../etc") == "etc"
    assert slug("log-mel+5") == "log-mel+5"
    assert slug("..") == "encoder"
    assert shown("MTWV", float("nan")) == ""


def test_heads_of_encoders_whose_names_are_alike_lie_apart(tmp_path: Path) -> None:
    """The path that the guide promises, unless the head of another encoder is there."""
    plain = head_folder(tmp_path, "keyword", "a/b", "a/b")
    assert plain == tmp_path / "heads" / "keyword" / "a-b"
    plain.mkdir(parents=True)
    (plain / "head.json").write_text('{"encoder": "a/b"}')
    assert head_folder(tmp_path, "keyword", "a/b", "a/b") == plain
    other = head_folder(tmp_path, "keyword", "a-b", "a-b")
    assert other.parent == plain.parent
    assert other.name.startswith("a-b-")
    assert head_folder(tmp_path, "keyword", "a/b+houlsby", "a/b") == plain.with_name("a-b+houlsby")
    assert head_folder(tmp_path, "speaker", "a-b", "a-b") == tmp_path / "heads" / "speaker" / "a-b"
    (plain / "head.json").write_text("{")  # damaged: the next head replaces it
    assert head_folder(tmp_path, "keyword", "a-b", "a-b") == plain


def test_curves_share_an_axis_and_bars_begin_at_zero() -> None:
    panels = [
        plots.curves("two", {"one": [(0, 1.0), (4, 3.0)], "other": [(0, 2.0), (2, 1.5)]}, last=4, numbered=True),
        plots.bars("shares", [0.5, 0.25, 0.0]),
    ]
    root = ET.fromstring(plots.picture(panels))
    lines = [line.attrib["points"].split() for line in root.findall(f"{_SVG}polyline")]
    first, second = ([tuple(map(float, point.split(","))) for point in line] for line in lines)
    assert first[1][0] == 620
    assert second[1][0] == (first[0][0] + first[1][0]) / 2
    assert second[0][1] == (first[0][1] + first[1][1]) / 2
    assert len(root.findall(f"{_SVG}circle")) == 4
    bars = [bar for bar in root.findall(f"{_SVG}rect") if bar.find(f"{_SVG}title") is not None]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights == [pytest.approx(2 * heights[1]), heights[1], 0]
    for empty in (lambda: plots.curves("none", {}, last=1), lambda: plots.bars("none", [])):
        with pytest.raises(ValueError, match="no "):
            empty()
