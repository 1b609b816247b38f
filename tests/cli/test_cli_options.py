"""Spellings, switches and values, up to the `DecodingOptions` that come of them."""

from __future__ import annotations

import dataclasses
import re

import click
import pytest
from click.testing import CliRunner
from fake_model import FakeModel, Run

from mtasr.audio.tracks import Tracks
from mtasr.cli import COMMANDS, program
from mtasr.cli.options.command import Switch
from mtasr.cli.options.decoding import temperatures
from mtasr.cli.transcribe import transcribe
from mtasr.errors import UsageError
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions


def test_defaults_are_those_of_the_library(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "a.wav", "-f", "json").exit_code == 0
    assert model.calls == [("a.wav", DecodingOptions())]
    assert model.tracks == [Tracks()]
    [load] = model.loads
    progress = load.pop("progress")
    assert callable(progress)
    assert load == {
        "name": None, "device": "auto", "device_index": 0, "compute_type": "auto", "threads": 0,
        "workers": 0, "batch_size": 0, "engine": "ctranslate2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        (["--beam_size", "3"], {"beam_size": 3}),
        (["--beam-size=3"], {"beam_size": 3}),
        (["--beam_size=None"], {"beam_size": 1}),
        (["--best_of", "None", "--patience", "None", "--length_penalty", "None"], {"best_of": 1}),
        (["--length_penalty", "-1"], {"length_penalty": -1.0}),
        (["--logprob_threshold", "-0.5"], {"logprob_threshold": -0.5}),
        (["--logprob_threshold=None"], {"logprob_threshold": None}),
        (["--compression_ratio_threshold", "None"], {"compression_ratio_threshold": None}),
        (["--no_speech_threshold", "None"], {"no_speech_threshold": None}),
        (["--initial_prompt", "None"], {"initial_prompt": None}),
        (["--initial_prompt", "--a_b=True"], {"initial_prompt": "--a_b=True"}),
        (["--initial-prompt=a_b=c"], {"initial_prompt": "a_b=c"}),
        (["--initial_prompt", "True"], {"initial_prompt": "True"}),
        (["--suppress_tokens", "-1,50257"], {"suppress_tokens": (-1, 50257)}),
        (["--suppress_tokens", ""], {"suppress_tokens": ()}),
        (["--language", "None"], {"language": None}),
        (["--language", "French"], {"language": "fr"}),
        (["--language", "pt"], {"language": "pt"}),
        (["--task", "translate"], {"task": "translate"}),
        (["--temperature", "0.5"], {"temperature": (0.5, 0.7, 0.9)}),
        (["--temperature_increment_on_fallback", "None"], {"temperature": (0.0,)}),
        (["--word_timestamps", "True"], {"word_timestamps": True}),
        (["--word_timestamps=true"], {"word_timestamps": True}),
        (["--word-timestamps"], {"word_timestamps": True}),
        (["--word-timestamps", "True", "--no_word_timestamps"], {"word_timestamps": False}),
        (["--condition_on_previous_text", "True"], {"condition_on_previous_text": True}),
        (["--vad_filter", "False"], {"vad_filter": False}),
        (["--vad-threshold", "0.3"], {"vad_threshold": 0.3}),
        (["--condition_on_previous_text=False"], {"condition_on_previous_text": False}),
        (["--no-condition-on-previous-text"], {"condition_on_previous_text": False}),
        (["--fp16", "False"], {}),
        (["-qo", "True", "--without_timestamps"], {"without_timestamps": True}),
    ],
    ids=" ".join,
)
def test_values(run: Run, model: FakeModel, args: list[str], changes: dict[str, object]) -> None:
    result = run("transcribe", *args, "a.wav", "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert model.calls == [("a.wav", DecodingOptions(**changes))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "tracks"),
    [
        (["--audio_stream", "2"], Tracks(audio_stream=2)),
        (["--channels", "split"], Tracks(channels="split")),
        (["--channels=Split", "--speakers", "Anna, Ben"], Tracks(channels="split", speakers=("Anna", "Ben"))),
        (["--channels", "split", "--speakers=,Ben"], Tracks(channels="split", speakers=("", "Ben"))),
        (["--channels", "mix", "--speakers", "None"], Tracks()),
    ],
)
def test_tracks(run: Run, model: FakeModel, args: list[str], tracks: Tracks) -> None:
    for command in ("transcribe", "translate"):
        result = run(command, *args, "a.wav")
        assert result.exit_code == 0, result.stderr
    assert model.tracks == [tracks, tracks]


def test_every_field_of_the_tracks_can_be_set() -> None:
    assert {field.name for field in dataclasses.fields(Tracks)} <= {param.name for param in transcribe.params}


def test_a_switch_swallows_no_file(run: Run, model: FakeModel) -> None:
    assert run("transcribe", "--word-timestamps", "a.wav", "--suppress_blank", "b.mp3").exit_code == 0
    assert [source for source, _ in model.calls] == ["a.wav", "b.mp3"]


def test_a_switch_has_no_other_value(run: Run) -> None:
    result = run("transcribe", "--word-timestamps=yes", "a.wav")
    assert result.exit_code == 2
    assert "'yes'" in result.stderr


def test_after_two_dashes_all_are_files(run: Run, model: FakeModel) -> None:
    result = run("transcribe", "--", "--word_timestamps", "True", "a.wav")
    assert result.exit_code == 6
    assert "mtasr: error: --word_timestamps: no such file\nmtasr: error: True: no such file\n" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--beam-size", "0"],
        ["--beam-size", "x"],
        ["--temperature", "nan"],
        ["--temperature-increment-on-fallback", "0"],
        ["--suppress-tokens", "a,b"],
        ["--language", "klingon"],
        ["--device", "tpu"],
        ["--compute-type", "int9"],
        ["--engine", "jax"],
        ["--threads", "-1"],
        ["--output-format", "doc"],
        ["--output-format", "srt,"],
        ["--nonsense"],
        ["--audio-stream", "-1"],
        ["--audio-stream", "10000"],
        ["--channels", "left"],
        ["--speakers", "Anna,Ben"],
        ["--channels", "split", "--speakers", "Anna,Anna"],
        ["--highlight-words", "-f", "txt"],
        ["--highlight-words", "--task", "translate"],
        ["--highlight-words", "--subtitle-style", "raw"],
        ["--highlight-words", "--word-timestamps", "False"],
        ["-"],
    ],
    ids=" ".join,
)
def test_usage_errors(run: Run, model: FakeModel, args: list[str]) -> None:
    result = run("transcribe", *args, "a.wav", "-")
    assert result.exit_code == 2
    assert not result.stdout
    assert not model.loads


def test_the_model_gets_its_settings(run: Run, model: FakeModel) -> None:
    args = ["--model", "tiny", "--device", "cuda:1", "--compute_type", "int8_float16", "--threads", "3",
            "--workers", "2", "--batch-size", "4"]  # fmt: skip
    assert run("transcribe", *args, "--engine", "torch", "a.wav").exit_code == 0
    [load] = model.loads
    del load["progress"]
    assert load == {
        "name": "tiny", "device": "cuda:1", "device_index": 0, "compute_type": "int8_float16", "threads": 3,
        "workers": 2, "batch_size": 4, "engine": "torch",
    }  # fmt: skip


def test_translate_translates(run: Run, model: FakeModel) -> None:
    assert run("translate", "a.wav").exit_code == 0
    assert model.calls == [("a.wav", DecodingOptions(task="translate"))]


def test_temperatures() -> None:
    assert temperatures(0.0, 0.2) == FALLBACK_TEMPERATURES
    assert temperatures(1.5, 0.2) == (1.5,)
    with pytest.raises(UsageError):
        temperatures(0.0, 1e-300)


def test_commands_in_the_help_are_the_commands() -> None:
    for name in COMMANDS:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize("command", [[], ["transcribe"], ["translate"], ["detect-language"], ["models"]])
def test_help_fits_80_columns(command: list[str]) -> None:
    result = CliRunner().invoke(program, [*command, "--help"], prog_name="mtasr", terminal_width=80)
    assert result.exit_code == 0
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_every_switch_can_be_switched_off() -> None:
    for name in ("transcribe", "translate", "detect-language"):
        command = program.get_command(click.Context(program), name)
        assert command is not None
        for param in command.params:
            if isinstance(param, Switch):
                assert re.fullmatch(r"--no-[a-z0-9-]+", param.secondary_opts[0])


def test_every_field_of_the_options_can_be_set() -> None:
    fields = {field.name for field in dataclasses.fields(DecodingOptions)}
    assert fields <= {param.name for param in transcribe.params}


@pytest.mark.parametrize("value", ["nan", "-1", "3"])
def test_a_temperature_out_of_range(run: Run, value: str) -> None:
    result = run("transcribe", "a.wav", "--temperature", value)
    assert result.exit_code == 2
    assert f"temperature must be between 0 and 2, not {float(value)}" in result.stderr
