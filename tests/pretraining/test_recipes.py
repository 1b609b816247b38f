"""The settings of `mtasr pretrain`: presets, files and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtasr.errors import UsageError
from mtasr.pretraining.best_rq import BestRqObjective
from mtasr.pretraining.recipes import objective_class, pretrain_config
from mtasr.training.objectives import PRETRAINING

WHERE = ["objective=best-rq", "data=recordings", "output=run"]


def test_short_names_and_the_first_preset() -> None:
    config = pretrain_config(None, WHERE)
    assert config.data.train == ("recordings",)
    assert config.objective_options == {"preset": "tiny", "books": 4, "codes": 128, "mask_span": 6}
    assert config.steps == 1000
    assert pretrain_config(None, [*WHERE[:1], "data=[a, b]", WHERE[2]]).data.train == ("a", "b")


def test_settings_come_before_those_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("objective: best-rq\noutput: run\ndata: {train: a, longest: 10}\noptimizer: {accumulation: 3}\n")
    config = pretrain_config(path, ["preset=whisper-base", "steps=7", "optimizer.warmup=2"])
    assert (config.data.longest, config.data.shortest, config.data.batch_seconds) == (10, 2, 300)
    assert (config.steps, config.optimizer.warmup, config.optimizer.learning_rate) == (7, 2, 8e-4)
    assert (config.optimizer.accumulation, config.optimizer.batches_per_step) == (3, None), "only one may be set"
    assert config.objective_options == {"preset": "whisper-base"}
    assert pretrain_config(path, ["optimizer.accumulation=1"]).optimizer.accumulation == 1


def test_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"objective must be one of .*best-rq.*; none is set"):
        pretrain_config(None, WHERE[1:])
    with pytest.raises(UsageError, match=r"objective must be one of .*best-rq.*, not 'ctc'"):
        pretrain_config(None, ["objective=ctc", *WHERE[1:]])
    with pytest.raises(UsageError, match=r"preset must be one of tiny, whisper-tiny, .*, not 'huge'"):
        pretrain_config(None, [*WHERE, "preset=huge"])
    with pytest.raises(UsageError, match="the setting output is missing"):
        pretrain_config(None, WHERE[:2])
    with pytest.raises(UsageError, match=r"no setting data\.lngest"):
        pretrain_config(None, [*WHERE, "data.lngest=3"])


@pytest.mark.parametrize("name", PRETRAINING)
def test_every_preset_is_a_configuration(name: str) -> None:
    presets = objective_class(name).presets
    assert presets
    for preset in presets:
        config = pretrain_config(None, [f"objective={name}", f"preset={preset}", *WHERE[1:]])
        assert config.objective_options["preset"] == preset


def test_a_class_may_stand_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRETRAINING, "mine", BestRqObjective)
    assert objective_class("mine") is BestRqObjective
