"""Configurations are typed, survive a round trip, and errors name the setting."""

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
        ("steps=many", "steps must be a whole number, not 'many'"),
        ("steps=true", "steps must be a whole number, not True"),
        ("steps=0", "steps cannot be 0"),
        ("optimizer.clip=high", "optimizer.clip must be a number, not 'high'"),
        ("activation_checkpointing=1", "activation_checkpointing must be true or false, not 1"),
        ("method=half", "method must be full, decoder, lora, houlsby, prefix or prompt, not 'half'"),
        ("data.train=3", "data.train must be a list of texts, not 3"),
        ("data.train=[]", "data.train cannot be ()"),
        ("data.weights=[1, 2]", "data.weights cannot be (1.0, 2.0)"),
        ("data.weights=0", "data.weights cannot be (0.0,)"),
        ("data.weights=[a]", "data.weights must be a number, not 'a'"),
        ("data.temperature=0.5", "data.temperature cannot be 0.5"),
        ("data.pool_hours=0", "data.pool_hours cannot be 0.0"),
        ("data.cache_gigabytes=0", "data.cache_gigabytes cannot be 0.0"),
        ("data.padding=8", "data.padding cannot be 8.0"),
        ("data.margin=-1", "data.margin cannot be -1.0"),
        ("data.evaluation_windows=-3", "data.evaluation_windows cannot be -3"),
        ("vocabulary=v", "vocabulary needs scratch: a model has no weights for the tokens of another vocabulary"),
        ("data.silence=2", "data.silence cannot be 2.0"),
        ("optimizer=3", "optimizer must be a mapping of names to values, not 3"),
        ("steps.more=3", "steps.more: steps has no settings below it"),
        ("scratch={a: b}", "scratch must be a mapping of names to whole numbers, not {'a': 'b'}"),
        ("steps", "an override must be key=value, not 'steps'"),
        ("steps=[", "steps is not YAML: '['"),
        ("output=2001-99-99", "output is not YAML: '2001-99-99'"),
        ("data={train: a, train: b}", "data is not YAML: '{train: a, train: b}'"),
        ("optimizer.learning_rate=.inf", "optimizer.learning_rate must be a number, not inf"),
        ("optimizer.clip=" + "9" * 400, f"optimizer.clip must be a number, not {'9' * 200}…"),
        ("data={1: a}", "there is no setting data.1"),
        ("data={~: a}", "there is no setting data.None"),
        ("seed=!!bool x", "seed is not YAML: '!!bool x'"),
        ('output="r\\0"', "output must be a text, not 'r\\x00'"),
        ('data.train=["a\\0"]', "data.train must be a list of texts, not ['a\\x00']"),
    ],
)
def test_errors_name_the_setting(override: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_config(LEAST, [override])
    assert str(raised.value) == message


WHOLE = "output: run\nsteps: 10\ndata: {train: [a.jsonl]}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE + "# more\n" * 1_000_000, "has more than 30,000 bytes"),
        (WHOLE + "steps: 20\n", "cannot be read: 'steps' is set twice, the second time in line 4"),
        (WHOLE.replace("{", "{train: b.jsonl, "), "cannot be read: 'train' is set twice, the second time in line 3"),
        (WHOLE + "optimizer:\n\tclip: 1\n", "cannot be read: while scanning for the next token found character '\\t'"),
        (WHOLE + "---\n" + WHOLE, "cannot be read: expected a single document"),
        (WHOLE.encode("utf-16"), "is not UTF-8 (byte 0)"),
        (WHOLE.replace("run", "r\xfcn").encode("latin-1"), "is not UTF-8 (byte 9)"),
        *[
            (f"{WHOLE}seed: {value}\n", "cannot be read: a value does not have the type of its tag")
            for value in ('!!int ""', "!!int _", "!!bool x", "!!timestamp x", "1:" * 200 + "1.0")
        ],
        (WHOLE + "model: !!python/object/apply:os.getcwd []\n", "cannot be read: could not determine a constructor"),
    ],
    ids=lambda value: ascii(value)[:20] if isinstance(value, bytes) else value[:20].strip(),
)
def test_files_that_are_no_configurations(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as raised:
        read_config(path)
    assert str(raised.value).startswith(f"{path}: {message}")
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("content", ["- output\n", "output\n", "5\n", "false\n", "[]\n"])
def test_a_configuration_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"^a configuration must be a mapping of names to values$"):
        read_config(path)


def test_a_yaml_alias_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("output: run\nsteps: 10\ndata: {train: &all [a.jsonl, b.jsonl], evaluation: *all}\n")
    assert read_config(path).data.evaluation == ("a.jsonl", "b.jsonl")


def test_messages_shorten_long_values(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        make_config(LEAST, [f"steps=[{'a,' * 5000}]"])
    assert str(raised.value).startswith("steps must be a whole number, not ['a', 'a'")
    assert len(str(raised.value)) < 300


def test_errors_name_a_missing_setting() -> None:
    with pytest.raises(UsageError, match="the setting output is missing"):
        make_config({"steps": 1})
    with pytest.raises(UsageError, match="a configuration must be a mapping"):
        make_config([1])


def test_batches_per_step_are_set_in_one_way() -> None:
    with pytest.raises(UsageError, match=r"^set optimizer.accumulation or optimizer.batches_per_step, not both$"):
        make_config(LEAST, ["optimizer.accumulation=2", "optimizer.batches_per_step=8"])


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "bad.yaml")
