"""`mtasr serve`."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import click

from mtasr.cli.display import Display
from mtasr.cli.options.command import Command, debug_option, option, switch
from mtasr.cli.options.model import model_options
from mtasr.cli.options.types import Count, NoneOr, Several
from mtasr.extras import extras
from mtasr.system import share_freed_memory

_NETWORK, _ACCESS, _MODELS, _LIMITS = "Network", "Access", "Models", "Limits"
_JOBS, _STORAGE = "Jobs", "Storage"
_SECONDS, _BYTES = "SECONDS", "BYTES"


@click.command("serve", cls=Command)
@option(_NETWORK, "--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on; 0.0.0.0: all.")
@option(_NETWORK, "--port", type=Count(), default=8000, help="Port to listen on; 0: a free one.")
@option(_NETWORK, "--tls-cert", type=click.Path(path_type=Path), metavar="PEM", help="Certificate, to serve https.")
@option(_NETWORK, "--tls-key", type=click.Path(path_type=Path), metavar="PEM", help="Private key of the certificate.")
@option(
    _NETWORK,
    "--name",
    "names",
    type=NoneOr(Several(click.STRING)),
    metavar="NAME,NAME",
    help="Host names that a server on 127.0.0.1 answers to, such as that of a proxy before it.",
)
@option(
    _NETWORK,
    "--proxy",
    "proxies",
    type=NoneOr(Several(click.STRING)),
    metavar="ADDRESS,ADDRESS",
    help="Proxies whose X-Forwarded-For is believed.",
)
@option(
    _NETWORK,
    "--wyoming",
    metavar="ADDRESS",
    help="Speak Home Assistant's protocol at this address, such as tcp://127.0.0.1:10300.",
)
@option(
    _ACCESS,
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Clients need a key of this file, which has one per line: KEY or NAME KEY.",
)
@option(
    _ACCESS,
    "--origin",
    "origins",
    type=NoneOr(Several(click.STRING)),
    metavar="URL,URL",
    help="Other web sites whose pages may use the server.",
)
@option(
    _MODELS,
    "--models",
    type=NoneOr(Several(click.STRING)),
    metavar="NAME,NAME",
    help="Other models that clients may name.  [default: those on this machine]",
)
@switch(_MODELS, "downloads", default=False, help="Download a published model if a client names it.")
@option(_MODELS, "--loaded-models", type=Count(1), default=2, help="Models in memory at a time.")
@option(
    _MODELS,
    "--idle-seconds",
    type=NoneOr(click.FLOAT, math.inf),
    default=600.0,
    metavar=_SECONDS,
    help="Unload a model that is unused for this long; None: never.",
)
@option(_LIMITS, "--requests", type=Count(1), default=128, help="Requests taken at a time; more get 429.")
@option(_LIMITS, "--client-requests", type=Count(1), default=64, help="Requests of one client at a time.")
@option(_LIMITS, "--live-sessions", type=Count(1), default=32, help="Live captions at a time; more get 429.")
@option(_LIMITS, "--upload-bytes", type=Count(1), default=1 << 30, metavar=_BYTES, help="Size of the largest request.")
@option(
    _LIMITS,
    "--upload-seconds",
    type=click.FLOAT,
    default=1800.0,
    metavar=_SECONDS,
    help="Longest time that receiving a request may take.",
)
@option(
    _LIMITS,
    "--recording-seconds",
    type=click.FLOAT,
    default=4 * 3600.0,
    metavar=_SECONDS,
    help="Length of the longest recording.",
)
@option(
    _LIMITS,
    "--stop-seconds",
    type=click.FLOAT,
    default=30.0,
    metavar=_SECONDS,
    help="Time that requests have to finish when the server stops.",
)
@option(_JOBS, "--jobs-at-once", type=Count(1), default=2, help="Jobs transcribed at a time.")
@option(_JOBS, "--waiting-jobs", type=Count(1), default=100, help="Jobs that may wait; more get 429.")
@option(
    _JOBS,
    "--job-seconds",
    type=click.FLOAT,
    default=7 * 24 * 3600.0,
    metavar=_SECONDS,
    help="How long the result of a job is kept.",
)
@option(
    _STORAGE,
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where uploads and jobs are kept.  [default: in your data folder]",
)
@switch("Log", "log-text", default=False, help="Write what was said into the log.")
@model_options
@debug_option
@click.pass_context
def serve(ctx: click.Context, /, **params: Any) -> None:
    """Serve speech recognition over HTTP, until Ctrl-C.

    Programs written for OpenAI's API work with it: set their base URL to http://127.0.0.1:8000/v1. The log on standard
    error has one line of JSON for each request.
    """
    with extras():
        from mtasr.server import Settings, run
        from mtasr.server.access import read_keys
        from mtasr.server.settings import is_this_machine
    from mtasr.transcribe import load_model

    display = Display()
    names = set(Settings.__dataclass_fields__)
    given = {name: value for name, value in params.items() if name in names and value is not None}
    given["keys"] = read_keys(params["keys"]) if params["keys"] is not None else ()
    given["data"] = params["data"] or _default_folder()
    settings = Settings(**given)
    if not settings.listens_to_this_machine_alone and not settings.keys:
        display.note("warning: everyone who can reach this machine can use the server; --keys asks for a key")
    if settings.wyoming_address is not None and not is_this_machine(settings.wyoming_address[0]):
        display.note(f"warning: everyone who can reach {settings.wyoming} can use it: the Wyoming protocol has no keys")
    share_freed_memory()
    load = partial(
        load_model,
        **{
            name: params[name]
            for name in ("device", "device_index", "compute_type", "threads", "workers", "batch_size", "engine")
        },
    )
    run(settings, load=load, started=lambda address: display.note(f"serving on {address}; Ctrl-C stops the server"))


def _default_folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path("mtasr", appauthor=False) / "server"
