"""What commands do with a cluster: join it, load a model on its nodes, show what each does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtasr.batch import Input
from mtasr.batch.inputs import STDIN
from mtasr.cli.display import Display
from mtasr.cli.failures import printable
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.cluster import ClusterModel
    from mtasr.cluster.records import RecordWorkers

#: The value of `--cluster` without an address.
AUTO = "auto"

#: Records by whose recordings a node shows that it sees them.
LOOKED_FOR = 16


def check(params: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that a cluster does not know."""
    if params["engine"] != "ctranslate2":
        raise UsageError(f"--cluster works with --engine ctranslate2, not with {params['engine']}")
    if params["timings"]:
        raise UsageError("--timings measures this machine, and --cluster leaves the work to others")


def check_inputs(inputs: Sequence[Input]) -> None:
    """Raise `UsageError` for what only this process can read."""
    if any(each.source == STDIN for each in inputs):
        raise UsageError("standard input (-) cannot be read by the nodes of a cluster: name a file that they see")


def to_address(given: str) -> str | None:
    """The address in the value of `--cluster`, None to look for a cluster."""
    return None if given == AUTO else given


def load(params: Mapping[str, Any], sources: Sequence[str], display: Display, *, diarize: bool) -> ClusterModel:
    """Join the cluster, and load the model that the parameters ask for on all nodes that fit."""
    from mtasr.cluster import ClusterModel, connect
    from mtasr.models import DEFAULT_MODEL, resolve

    nodes = connect(to_address(params["cluster"]))
    try:
        with display.downloads() as progress:
            folder = resolve(DEFAULT_MODEL if params["model"] is None else params["model"], progress=progress)
    except BaseException:
        nodes.close()
        raise
    model = ClusterModel(
        nodes,
        folder,
        sources,
        device=params["device"],
        compute_type=params["compute_type"],
        threads=params["threads"],
        workers=1 if params.get("condition_on_previous_text") else params["workers"],
        batch_size=params["batch_size"],
        diarize=diarize,
        tell=display.note,
        look=display.look_at_nodes,
    )
    display.follow_nodes(lambda: model.states)
    return model


def record_workers(given: str, model: str | None, paths: Sequence[str]) -> RecordWorkers:
    """Join the cluster, and start workers for records, with a model if one is named."""
    import click

    from mtasr.cluster import connect
    from mtasr.cluster.records import RecordWorkers
    from mtasr.models import resolve

    folder = None if model is None else resolve(model)
    nodes = connect(to_address(given))
    return RecordWorkers(nodes, folder, paths, lambda line: click.echo(printable(line), err=True))
