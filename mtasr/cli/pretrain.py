"""`mtasr pretrain`."""

from __future__ import annotations

from pathlib import Path

import click

from mtasr.cli.options.command import debug_option
from mtasr.cli.train import run_to_end
from mtasr.errors import UsageError
from mtasr.extras import extras

#: What a run results in, if it is no encoder.
_RESULTS = {"unit_lm": "language model", "codec": "codec"}


@click.command("pretrain")
@click.argument("settings", metavar="[CONFIG] KEY=VALUE...", nargs=-1)
@debug_option
def pretrain(settings: tuple[str, ...]) -> None:
    """Train an encoder, a language model over units or a codec on recordings without text. For example:

    mtasr pretrain objective=best-rq data=recordings output=RUN

    `objective` is what the model learns, `data` a folder of recordings or a file of records, and `output` the folder
    of the run and its result. `preset` chooses sizes and rates, such as tiny or whisper-base. All other settings have
    the names that docs/training.md explains, and may also stand in the YAML file CONFIG.

    The same command resumes a run that was stopped. The result is the folder `encoder` in RUN, for `mtasr train
    init_encoder=RUN`. With objective=unit_lm it is the folder `unit-lm`, for `mtasr continue`, and `data` may also be a
    file of units. With objective=codec it is the folder `codec`, for `mtasr compress --codec`. Needs the extra `train`.
    """
    if not settings:
        raise UsageError(
            "objective, data and output are not set, as in: mtasr pretrain objective=best-rq data=recordings output=RUN"
        )
    path = None if "=" in settings[0] else Path(settings[0])
    overrides = settings if path is None else settings[1:]
    if wrong := [each for each in overrides if "=" not in each]:
        raise UsageError(f"settings are KEY=VALUE, after at most one configuration file; not {wrong[0]!r}")
    with extras():
        from mtasr.pretraining.recipes import pretrain_config

        config = pretrain_config(path, overrides)
    run_to_end(config, result=_RESULTS.get(config.objective, "encoder"))
