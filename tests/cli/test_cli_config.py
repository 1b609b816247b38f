"""Settings from files, the environment and flags, in that order, and `mtasr config show`."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path

import pytest
from fake_model import FakeModel, Run

import mtasr
from mtasr.cli import Program, program
from mtasr.cli.config import user_file
from mtasr.cli.options.command import Option


@pytest.fixture
def settings(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, which is not there yet; the project's is mtasr.toml in the current folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    user_file().parent.mkdir()
    return user_file()


def project(text: str) -> None:
    Path("mtasr.toml").write_text(text, "utf-8")


def beam(model: FakeModel) -> int | None:
    return model.calls[-1][1].beam_size


def test_what_is_nearer_counts(run: Run, model: FakeModel, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("transcribe", "a.wav")
    assert beam(model) == 5
    settings.write_text("beam_size = 2\n")
    run("transcribe", "a.wav")
    assert beam(model) == 2
    project("beam-size = 3\n")
    run("transcribe", "a.wav")
    assert beam(model) == 3
    monkeypatch.setenv("MTASR_BEAM_SIZE", "4")
    run("transcribe", "a.wav")
    assert beam(model) == 4
    run("transcribe", "a.wav", "--beam-size", "6")
    assert beam(model) == 6


def test_a_table_is_for_its_command(run: Run, model: FakeModel, settings: Path) -> None:
    settings.write_text("beam_size = 2\nthreads = 3\n[translate]\nbeam_size = 3\n[detect-language]\ntop = 1\n")
    run("transcribe", "a.wav")
    assert (beam(model), model.loads[-1]["threads"]) == (2, 3)
    run("translate", "a.wav")
    assert (beam(model), model.loads[-1]["threads"]) == (3, 3)
    assert run("detect-language", "a.wav").stdout.count("\n") == 1


def test_values_of_every_kind(run: Run, model: FakeModel, settings: Path) -> None:
    settings.write_text(
        'output_format = ["srt", "json"]\nlanguages = ["German", "fr"]\nword_timestamps = true\nverbose = false\n'
        'temperature = 0\nvad_threshold = 0.25\nsuppress_tokens = "None"\ninitial_prompt = "Zürich"\n'
        'output_dir = "out"\n'
    )
    result = run("transcribe", "a.wav")
    assert (result.exit_code, result.stdout) == (0, "")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.json", "a.srt"]
    options = model.calls[-1][1]
    assert (options.languages, options.word_timestamps, options.suppress_tokens) == (("de", "fr"), True, ())
    assert (options.temperature[0], options.vad_threshold, options.initial_prompt) == (0, 0.25, "Zürich")


def test_a_project_says_what_it_sets(run: Run, settings: Path) -> None:
    settings.write_text("beam_size = 2\n")
    project('language = "fr"\nbest_of = 2\nmeasure = "language"\n')
    message = "mtasr.toml sets language, best_of\n"
    assert run("transcribe", "a.wav").stderr.startswith(message)
    assert run("transcribe", "a.wav", "--best-of", "1").stderr.startswith("mtasr.toml sets language\n")
    assert run("transcribe", "a.wav", "-q").stderr == ""
    event = json.loads(run("transcribe", "a.wav", "--progress", "json").stderr.splitlines()[0])
    assert event == {"event": "note", "text": message.rstrip()}
    assert "sets" not in run("detect-language", "a.wav").stderr


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('output_dir = "/home"', "output_dir"),
        ("threads = 64", "threads"),
        ('device = "cuda"', "device"),
        ('[transcribe]\nengine = "torch"', "transcribe.engine"),
        ("quiet = true", "quiet"),
    ],
)
def test_a_project_may_not_set_what_is_the_users(
    run: Run, model: FakeModel, settings: Path, line: str, key: str
) -> None:
    project(line)
    result = run("transcribe", "a.wav")
    assert (result.exit_code, model.loads) == (2, [])
    assert result.stderr.startswith(f"mtasr: error: mtasr.toml: {key} cannot be set in this file; use {settings}")
    settings.write_text(line)
    Path("mtasr.toml").unlink()
    assert run("transcribe", "a.wav").exit_code == 0


def test_a_projects_model_is_a_published_one(run: Run, model: FakeModel, settings: Path) -> None:
    for name in ("./model", "someone/model", "openai/whisper-base"):
        project(f'model = "{name}"\n')
        result = run("transcribe", "a.wav")
        assert (result.exit_code, model.loads) == (2, []), name
        assert "mtasr.toml: model must be a name of" in result.stderr
    project('model = "small"\n')
    assert run("transcribe", "a.wav").exit_code == 0
    assert model.loads[-1]["name"] == "small"


def test_everything_a_project_may_set_is_harmless() -> None:
    """A new option is the user's alone until it is listed here: then a project can set it too."""
    from mtasr.cli.config import _PROJECT_GROUPS, _PROJECT_KEYS, _commands

    assert isinstance(program, Program)
    options = {key: option for each in _commands(program).values() for key, option in each.items()}
    open_to_projects = {
        key for key, option in options.items() if option.group in _PROJECT_GROUPS or key in _PROJECT_KEYS
    }
    assert not open_to_projects & {"output_dir", "device", "threads", "workers", "engine", "overwrite", "jobs", "quiet"}
    assert {"language", "beam_size", "subtitle_style", "model", "hotwords"} <= open_to_projects


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beam_siez = 1", "'beam_siez' is not a setting; did you mean beam_size?"),
        ("[transcrbe]\nbeam_size = 1", "'transcrbe' is not a command; did you mean transcribe?"),
        ("[evaluate]\noutput_format = 'srt'", "'output_format' is not a setting of evaluate"),
        ("zzz = 1", "'zzz' is not a setting; `mtasr config show` lists them"),
        ("output = 'a.html'", "'output' is not a setting"),
        ("beam_size = 'five'", "beam_size: 'five' is not a valid integer"),
        ("beam_size = true", "beam_size cannot be True"),
        ("beam_size = 2024-01-01", "beam_size cannot be"),
        ("vad_filter = 1", "vad_filter must be true or false, not 1"),
        ("language = 'klingon'", "language: unknown language 'klingon'"),
        ("output_format = ['srt', 'doc']", "output_format: 'doc' is not one of"),
        ("hotwords = [[1]]", "hotwords cannot be [[1]]"),
        ("beam_size = ", "is not TOML"),
        ("beam_size = '\udcff'", "is not TOML"),
        ("#" * 20_001, "is not a configuration"),
    ],
)
def test_errors_in_a_file_name_it(run: Run, model: FakeModel, settings: Path, text: str, message: str) -> None:
    for file in (settings, Path("mtasr.toml")):
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        result = run("transcribe", "a.wav")
        assert (result.exit_code, model.loads) == (2, [])
        assert result.stderr.startswith(f"mtasr: error: {file}: {message}"), result.stderr
        assert run("doctor").exit_code == 0
        file.unlink()


def test_a_file_that_may_not_be_read(run: Run, settings: Path) -> None:
    settings.mkdir()
    assert run("transcribe", "a.wav").stderr == f"mtasr: error: {settings}: cannot be read: Is a directory\n"


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: Run, settings: Path) -> None:
    os.mkfifo(settings)
    assert run("transcribe", "a.wav").stderr == f"mtasr: error: {settings}: is not a file\n"


def test_a_wrong_variable_is_named(run: Run, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_BEAM_SIZE", "five")
    result = run("transcribe", "a.wav")
    assert (result.exit_code, model.loads) == (2, [])
    assert "Invalid value for MTASR_BEAM_SIZE: 'five' is not a valid integer" in result.stderr


def test_a_variable_that_is_nearly_a_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("MTASR_MODLE", "small"),  # nearest to one
        ("MTASR_CAHCE", "/nonexistent"),
        ("MTASR_CACHE", "/nonexistent"),
        ("MTASR_TOP", "1"),  # of another command
        ("MTASR_HOME", "/srv"),  # of another program
    ):
        monkeypatch.setenv(name, value)
    message = [
        "MTASR_CAHCE in the environment sets nothing; did you mean MTASR_CACHE?",
        "MTASR_MODLE in the environment sets nothing; did you mean MTASR_MODEL?",
    ]
    result = run("transcribe", "a.wav")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if "MTASR" in line] == [f"warning: {line}" for line in message]
    events = run("transcribe", "a.wav", "--progress", "json").stderr.splitlines()
    assert [json.loads(line)["text"] for line in events[:2]] == [f"warning: {line}" for line in message]
    assert run("transcribe", "a.wav", "-q").stderr == ""


def test_every_variable_that_is_looked_at_is_known(run: Run, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(mtasr.__file__).parent
    named = {name for file in source.rglob("*.py") for name in re.findall(r"\bMTASR_[A-Z]+\b", file.read_text("utf-8"))}
    for name in named:
        monkeypatch.setenv(name, "de")
    assert "in the environment" not in run("transcribe", "a.wav").stderr
    assert "in the environment" not in run("config", "show").stdout


def test_switches_in_the_environment(run: Run, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTASR_VAD_FILTER", "False")
    monkeypatch.setenv("MTASR_OUTPUT_FORMAT", "vtt,txt")
    assert run("transcribe", "a.wav").exit_code == 0
    assert model.calls[-1][1].vad_filter is False
    assert Path("a.vtt").exists()
    run("transcribe", "a.wav", "--vad-filter")
    assert model.calls[-1][1].vad_filter is True


def test_each_variable_sets_one_thing() -> None:
    assert isinstance(program, Program)
    commands = [program.get_command(program.make_context("mtasr", ["doctor"]), name) for name in program.configured]
    options = [param for command in commands if command for param in command.params if isinstance(param, Option)]
    variables = {option.envvar for option in options if option.configurable}
    assert not variables & {"MTASR_CACHE", "MTASR_FFMPEG"}
    # One variable sets one thing: options of one name are of one kind in every command.
    for one, other in itertools.combinations(options, 2):
        if one.configurable and other.configurable and one.key == other.key:
            assert (type(one.type), one.multiple, one.is_flag) == (type(other.type), other.multiple, other.is_flag)


def test_show(run: Run, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text("threads = 2\nbest_of = 3\n[evaluate]\nbeam_size = 1\n")
    project('language = "French"\nbest_of = 4\n')
    monkeypatch.setenv("MTASR_LANGUAGES", "de,it")
    monkeypatch.setenv("MTASR_LANGUGE", "de")
    result = run("config", "show")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:2] == [f"# {settings} (of the user)", "# mtasr.toml (of this folder)"]
    for line in (
        f"threads = 2 ({settings})",
        "best_of = 4 (mtasr.toml)",
        f"evaluate.beam_size = 1 ({settings})",
        "transcribe.beam_size = 5 (default)",
        'language = "fr" (mtasr.toml)',
        'languages = "de,it" (MTASR_LANGUAGES)',
        "model = none (default)",
        "vad_filter = true (default)",
    ):
        assert line in lines
    assert lines[-1] == "# MTASR_LANGUGE in the environment sets nothing; did you mean MTASR_LANGUAGE?"


def test_show_one_command(run: Run, settings: Path) -> None:
    settings.write_text("[evaluate]\nbeam_size = 1\n")
    shown = run("config", "show", "evaluate").stdout
    assert "\nbeam_size " in shown
    assert "\noutput_format" not in shown
    result = run("config", "show", "doctor")
    assert (result.exit_code, "'doctor' has no settings" in result.stderr) == (2, True)


def test_show_says_what_is_wrong_beside_what_is_good(run: Run, settings: Path) -> None:
    settings.write_text('beam_siez = 2\nthreads = 2\n[evaluate]\nworst = "many"\nbeam_size = 1\n[transcrbe]\n')
    result = run("config", "show")
    assert result.exit_code == 2
    for line, message in zip(
        result.stderr.splitlines(),
        ("'beam_siez' is not a setting", "evaluate.worst: 'many' is not a valid", "'transcrbe' is not a command"),
        strict=True,
    ):
        assert line.startswith(f"mtasr: error: {settings}: {message}")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"threads = 2 ({settings})" in lines
    assert f"evaluate.beam_size = 1 ({settings})" in lines
    assert "worst = 5 (default)" in lines


def test_show_of_a_file_that_is_not_toml(run: Run, settings: Path) -> None:
    settings.write_text("threads = \n")
    project("best_of = 2\n")
    result = run("config", "show")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"mtasr: error: {settings}: is not TOML")
    assert f"# {settings} (of the user)\n" in result.stdout
    assert "= 2  (mtasr.toml)" in result.stdout
