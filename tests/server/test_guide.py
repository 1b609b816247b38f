"""docs/guide/serving.md: its commands and programs run in the order of the page, and its examples are right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from wyoming.client import AsyncClient

from mtasr.cli import program
from mtasr.cli.serve import serve
from mtasr.server.protocols.wyoming import Describe, Info

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "serving.md"
UNIT = ROOT / "examples" / "mtasr.service"
IMAGE = ROOT / "examples" / "Containerfile"

#: Where the page says that servers listen.
PORTS = ("8000", "8080", "10300")


def blocks() -> list[tuple[str, str]]:
    """Language and text of the page's code blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def installation() -> str:
    """The first command of the page."""
    return blocks()[0][1].strip()


def free_ports(count: int) -> list[str]:
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(each.getsockname()[1]) for each in listeners]


class Reader:
    """Someone who follows the page: does what it says, with other ports. One server runs at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._server: subprocess.Popen[str] | None = None
        self._printed: list[str] = []

    def _own(self, text: str) -> str:
        """A command or program of the page with our ports, and a Python that has what it imports."""
        for theirs, ours in self._ports.items():
            text = re.sub(rf"\b{theirs}\b", ours, text)
        return text

    def serve(self, command: str) -> str:
        """Start a server, wait until it is ready, and return the line that says so."""
        self.stop()
        words = shlex.split(self._own(command))
        assert words[:2] == ["mtasr", "serve"]
        if "--port" not in words:
            words += ["--port", self._ports["8000"]]
        arguments = [sys.executable, "-m", *words, "--data", str(self.folder / "data")]
        self._server = subprocess.Popen(arguments, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(self._server, ready), daemon=True).start()
        assert ready.wait(60), self._printed
        assert "serving on" in self._printed[-1]
        return self._printed[-1]

    def _listen(self, server: subprocess.Popen[str], ready: threading.Event) -> None:
        self._printed = []
        assert server.stderr is not None
        with server.stderr:
            for line in server.stderr:
                self._printed.append(line)
                if line.startswith("serving on"):
                    ready.set()
        ready.set()

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            assert self._server.wait(60) == 0, self._printed
            self._server = None

    def run(self, kind: str, text: str) -> str:
        """What a command or program prints."""
        text = self._own(text)
        command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | {"PATH": self._path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (text, done.stderr, self._printed)
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    found = Reader(tmp_path)
    yield found
    found.stop()


def read(reader: Reader) -> Iterator[tuple[str, str]]:
    """Follow the page, and yield each server that is started, and each command or program that it answers.

    Beside it is what it prints.
    """
    for kind, text in blocks():
        if kind == "python":
            yield text, reader.run(kind, text)
        for command in text.splitlines() if kind == "sh" else ():
            if command == installation():
                reader.serve("mtasr serve")
            elif command.startswith("mtasr "):
                yield command, reader.serve(command)
            elif command.startswith("curl "):
                yield command, reader.run(kind, command.replace("curl ", "curl -sS --fail-with-body ", 1))
            else:
                reader.run(kind, command)


async def described(address: str) -> list[str]:
    """The programs that a Wyoming server offers."""
    async with AsyncClient.from_uri(address) as client:
        await client.write_event(Describe().event())
        answer = await client.read_event()
        assert answer is not None
        return [each.name for each in Info.from_event(answer).asr]


def speaks_wyoming(printed: str) -> bool:
    (port,) = re.findall(r"tcp://0\.0\.0\.0:(\d+);", printed)
    return asyncio.run(described(f"tcp://127.0.0.1:{port}")) == ["mtasr"]


#: What is right for the commands and programs in which a pattern is found; the first one that is counts.
RIGHT: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("--wyoming", speaks_wyoming),
    ("^mtasr serve", lambda printed: printed.startswith("serving on http")),
    ("^curl .*/v1/models", lambda printed: json.loads(printed)["data"][0]["id"] == "base"),
    ("^curl .*/v1/jobs -F", lambda printed: json.loads(printed)["status"] == "queued"),
    ("^curl .*/v1/jobs$", lambda printed: len(json.loads(printed)["data"]) == 1),
    ("^curl .*/health", lambda printed: json.loads(printed)["status"] == "ok"),
    ("^curl .*/metrics", lambda printed: "mtasr_requests_total" in printed),
    ("^curl .*/detect-language", lambda printed: json.loads(printed)["language_code"] == "es"),
    ("^curl .*entrevista", lambda printed: len(printed.split()) > 5),
    ("client_secrets", lambda printed: printed.startswith("ek_")),
    ("=srt", lambda printed: printed.startswith("1\n00:00:0") and "Good morning" in printed),
    ("", lambda printed: "Good morning" in printed),
)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
def test_a_reader_can_follow_the_page(reader: Reader) -> None:
    for command, printed in read(reader):
        is_right = next(check for pattern, check in RIGHT if re.search(pattern, command))
        assert is_right(printed), (command, printed)


def test_the_installation_is_that_of_the_readme_with_the_server() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"^```sh\n(.*?)\n```$", readme, re.DOTALL | re.MULTILINE)
    assert first is not None
    set_up = first[1].rpartition(" && ")[0]
    assert installation() == f"{set_up.replace('[base]', '[base,server]')} && .venv/bin/mtasr serve"


def serve_options(arguments: list[str]) -> dict[str, object]:
    """The parameters of `mtasr serve` with these arguments."""
    parent = click.Context(program, info_name="mtasr", **program.context_settings)
    with serve.make_context("serve", arguments, parent=parent) as context:
        return dict(context.params)


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=(\S+) serve (.*)$", text, re.MULTILINE)
    assert serve_options(shlex.split(line[1]))["data"] == Path("/var/lib/mtasr")
    assert re.search(r"^StateDirectory=mtasr$", text, re.MULTILINE)
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(line[0], str(Path(sys.executable).parent / "mtasr")), encoding="utf-8")
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def instructions(kind: str) -> list[str]:
    text = IMAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^\s*{kind} (.*)$", text, re.MULTILINE)


def test_the_image_is_made_of_what_there_is() -> None:
    copied = [each.split()[:-1] for each in instructions("COPY") if not each.startswith("--from")]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", "mtasr", project["project"]["readme"], *project["project"]["license-files"]}
    assert needed == {source for sources in copied for source in sources}
    assert "'/source[base,server]'" in instructions("RUN")[0]
    assert {"base", "server"} <= set(project["project"]["optional-dependencies"])
    (entry,) = map(json.loads, instructions("ENTRYPOINT"))
    assert entry[:2] == ["/opt/mtasr/bin/mtasr", "serve"]
    assert serve_options(entry[2:])["host"] == "0.0.0.0"
    (check,) = (json.loads(each.partition("CMD ")[2]) for each in instructions("HEALTHCHECK"))
    compile(check[2], "HEALTHCHECK", "exec")
