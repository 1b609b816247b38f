"""Configurations: typed, named in errors, the same after a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtasr.errors import InputError, InputNotFoundError, UsageError
from mtasr.training.config import make_config, read_config, to_document

LEAST = {"output": "run", "steps": 10, "data": {"train": "a.jsonl"}}


def test_a_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("output: run\nsteps: 10\ndata: {train: [a.jsonl, b.jsonl]}\noptimizer:\n  learning_rate: 1e-4\n")
    config = read_config(path, ["steps=20", "data.train=c.jsonl", "optimizer.clip=2", "scratch={n_audio_layer: 2}"])
    assert (config.steps, config.data.train, config.optimizer.clip) == (20, ("c.jsonl",), 2.0)
    assert config.optimizer.learning_rate == 1e-4
    assert config.scratch == {"n_audio_layer": 2}
    assert make_config(to_document(config)) == config
    assert make_config(to_document(config), ["scratch=null"]).scratch is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step=3", "there is no setting step; did you mean steps?"),
        (
            "optimizer.learning_rat=3",
            "there is no setting optimizer.learning_rat; did you mean optimizer.learning_rate?",
        ),
        ("steps=many", "steps is a whole number, not 'many'"),
        ("steps=true", "steps is a whole number, not True"),
        ("steps=0", "steps has no sensible value: 0"),
        ("optimizer.clip=high", "optimizer.clip is a number, not 'high'"),
        ("activation_checkpointing=1", "activation_checkpointing is true or false, not 1"),
        ("method=half", "method is full, decoder or lora, not 'half'"),
        ("data.train=3", "data.train is a list of texts, not 3"),
        ("data.train=[]", "data.train has no sensible value: ()"),
        ("data.padding=8", "data.padding has no sensible value: 8.0"),
        ("data.margin=-1", "data.margin has no sensible value: -1.0"),
        ("data.evaluation_windows=-3", "data.evaluation_windows has no sensible value: -3"),
        ("vocabulary=v", "vocabulary needs scratch: a model has no weights for the tokens of another one"),
        ("data.silence=2", "data.silence has no sensible value: 2.0"),
        ("optimizer=3", "optimizer is a mapping of names to values, not 3"),
        ("steps.more=3", "steps.more: steps has no settings below it"),
        ("scratch={a: b}", "scratch is a mapping of names to whole numbers, not {'a': 'b'}"),
        ("steps", "an override is key=value, not 'steps'"),
        ("steps=[", "steps: no YAML value: '['"),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_config(LEAST, [override])
    assert str(raised.value) == message


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="the setting output is missing"):
        make_config({"steps": 1})
    with pytest.raises(UsageError, match="a configuration is a mapping"):
        make_config([1])


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "bad.yaml")
