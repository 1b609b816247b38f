"""`mtasr features` and `mtasr units`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fake_encoder import LocalEncoder
from layered_encoder import LayeredEncoder
from speech import speak, write_wav

from mtasr.cli import program
from mtasr.pretraining.units.kmeans import UnitCentres, read_centres


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(program, [str(arg) for arg in args], prog_name="mtasr")


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any name means the encoder of the tests."""
    monkeypatch.setattr("mtasr.encoders.load_encoder", lambda name, device, progress=None: LocalEncoder())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `speech.wav`, and `other.wav` in a subfolder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    write_wav(tmp_path / "speech.wav", speak("The library closes at five."))
    write_wav(tmp_path / "more" / "other.wav", speak("A new computer for my daughter."))
    return tmp_path


@pytest.fixture
def centres(here: Path) -> Path:
    UnitCentres(centres=np.array([[0, 0, 0], [0, 0.3, 0]], np.float32), encoder="local", layer=0).save(here / "u.npz")
    return here / "u.npz"


# features


@pytest.mark.usefixtures("local")
def test_features_of_files_and_folders(here: Path) -> None:
    result = run("features", "speech.wav", "more", "-o", "out", "--layer", "all")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "frames of all layers of local; wrote out/speech.npz" in result.stderr
    with np.load(here / "out" / "other.npz") as file:
        assert file["states"].shape == (2, len(file["times"]), 3)
    result = run("features", "speech.wav", "--layer", "0", "--encoder", "anything", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    with np.load(here / "speech.npz") as file:
        assert file["states"].shape == (len(file["times"]), 3)
        assert file["layers"].tolist() == [0]


@pytest.mark.usefixtures("local")
def test_one_recording_that_fails_does_not_stop_the_others(here: Path) -> None:
    (here / "broken.wav").write_bytes(b"no sound")
    result = run("features", "broken.wav", "speech.wav", "missing.wav")
    assert result.exit_code == 6
    assert "broken.wav" in result.stderr
    assert "missing.wav: no such file" in result.stderr
    assert (here / "speech.npz").exists()
    assert not list(here.glob("broken.n*"))
    assert run("features", "missing.wav").exit_code == 3


@pytest.mark.usefixtures("local", "here")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "no recording is named"),
        (["speech.wav", "--layer", "2"], 2, "local has the layers 0 to 1, and no layer 2"),
        (["speech.wav", "--layer", "most"], 2, "'most' is not the number of a layer or all"),
        (["speech.wav", "-o", "s3://bucket/folder"], 2, "features go to a folder on this machine"),
        (["speech.wav", "-o", "speech.wav"], 4, "speech.wav"),
    ],
)
def test_features_that_cannot_be(args: list[str], code: int, message: str) -> None:
    result = run("features", *args)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


@pytest.mark.usefixtures("here")
def test_an_encoder_that_is_not_there() -> None:
    for command in (["features", "speech.wav"], ["units", "--fit", "more", "-o", "u.npz"]):
        result = run(*command, "--encoder", "bass")
        assert result.exit_code == 5
        assert "there is no encoder 'bass'; did you mean base" in result.stderr


@pytest.mark.usefixtures("here")
def test_what_is_known_before_an_encoder_is_loaded_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtasr.encoders.load_encoder", None)  # cannot be called
    for command in (
        ["features", "speech.wav"], ["find", "speech.wav", "more"], ["units", "--fit", "more", "-o", "u.npz"],
    ):  # fmt: skip
        result = run(*command, "--encoder", "base", "--layer", "7")
        assert (result.exit_code, "base has the layers 0 to 6, and no layer 7" in result.stderr) == (2, True)
    result = run("features", "speech.wav", "-o", "more/other.wav")
    assert (result.exit_code, "more/other.wav: is a file, not a folder" in result.stderr) == (4, True), result.stderr


# units


@pytest.mark.usefixtures("local")
def test_units_as_lines(here: Path, centres: Path) -> None:
    result = run("units", "speech.wav", "--centres", centres)
    assert result.exit_code == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {row[0] for row in rows} == {"speech.wav"}
    assert [row[2] for row in rows[:-1]] == [row[1] for row in rows[1:]]
    assert {row[3] for row in rows} == {"0", "1"}
    frames = run("units", "speech.wav", "--centres", centres, "--no-join", "--format", "sequence").stdout
    name, units = frames.rstrip("\n").split("\t")
    assert name == "speech.wav"
    kept = [unit for place, unit in enumerate(units.split()) if not place or unit != units.split()[place - 1]]
    assert kept == [row[3] for row in rows]
    document = json.loads(
        run("units", "speech.wav", "more", "--centres", centres, "--format", "json").stdout.splitlines()[0]
    )
    assert document["units"] == [int(row[3]) for row in rows]
    assert document["starts"] == pytest.approx([float(row[1]) for row in rows], abs=1e-3)
    assert document["ends"] == pytest.approx([float(row[2]) for row in rows], abs=1e-3)


@pytest.mark.usefixtures("local")
def test_units_are_learnt_and_used(here: Path) -> None:
    result = run("units", "--fit", ".", "--recursive", "--clusters", "3", "--layer", "0", "-o", "new/u.npz")
    assert result.exit_code == 0, result.stderr
    assert "3 units of layer 0 of local; wrote new/u.npz" in result.stderr
    assert read_centres(here / "new" / "u.npz").units == 3
    shown = run("units", "speech.wav", "--centres", "new/u.npz")
    assert {line.split("\t")[3] for line in shown.stdout.splitlines()} == {"0", "1", "2"}
    again = run("units", "--fit", "speech.wav", "--fit", "more", "--clusters", "3", "--layer", "0", "-o", "v.npz")
    assert again.exit_code == 0, again.stderr


@pytest.mark.usefixtures("here")
def test_units_are_for_the_weights_that_they_were_learnt_with(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter((0, 0, 1))
    monkeypatch.setattr("mtasr.encoders.load_encoder", lambda *args, **kwargs: LayeredEncoder(next(seeds)))
    assert run("units", "--fit", ".", "--clusters", "3", "-o", "u.npz").exit_code == 0
    assert run("units", "speech.wav", "--centres", "u.npz").exit_code == 0
    retrained = run("units", "speech.wav", "--centres", "u.npz")
    assert retrained.exit_code == 2
    assert "the centres are for layered, and layered has other weights" in retrained.stderr


@pytest.mark.usefixtures("local", "centres")
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["speech.wav"], 2, "Learn them first with `mtasr units --fit FOLDER -o units.npz`"),
        (["--centres", "u.npz"], 2, "no recording is named"),
        (["--fit", "more"], 2, "--fit needs --output"),
        (["speech.wav", "--fit", "more", "-o", "v.npz"], 2, "--fit learns units and prints none"),
        (["--fit", "more", "--centres", "u.npz", "-o", "v.npz"], 2, "--fit learns units and prints none"),
        (["speech.wav", "--centres", "u.npz", "-o", "x"], 2, "--output is for the units that --fit learns"),
        (["--fit", "more", "-o", "v.txt"], 2, "the name of a file of units ends with .npz"),
        (["--fit", "empty", "-o", "v.npz"], 3, "empty"),
        (["--fit", "more", "-o", "v.npz", "--clusters", "9999"], 3, "9999 units need as many different frames"),
        (["speech.wav", "--centres", "missing.npz"], 5, "missing.npz"),
        (["speech.wav", "--centres", "speech.wav"], 5, "speech.wav"),
        (["speech.wav", "--centres", "u.npz", "--layer", "1"], 2, "the centres are for layer 0, not 1"),
    ],
)
def test_units_that_cannot_be(here: Path, args: list[str], code: int, message: str) -> None:
    (here / "empty").mkdir()
    result = run("units", *args)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert result.stdout == ""
    assert not (here / "v.npz").exists()
