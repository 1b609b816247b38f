"""The README and the guide: their commands and programs run, their links lead somewhere, their options exist."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from mtasr.audio.ffmpeg import find_ffmpeg

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"})


def blocks(page: Path, kind: str) -> list[str]:
    fenced = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for what, text in fenced if what == kind]


def commands(page: Path) -> list[str]:
    return [line for text in blocks(page, "sh") for line in text.splitlines()]


SET_UP = commands(README)[:2]
#: Page -> commands that no page before it has. `tests/server/test_guide.py` has those of a server, and
#: `tests/remote/test_stores_guide.py` those that need a store, `tests/pretraining/test_pretraining_guide.py` those that
#: need recordings and labels. Those of `scale.md` need several machines.
ELSEWHERE = ("pretraining", "probing", "scale", "serving", "stores")
EXAMPLES: dict[Path, list[str]] = {}
for each in (README, *(page for page in GUIDE if page.stem not in ELSEWHERE)):
    seen = {*SET_UP, *(command for known in EXAMPLES.values() for command in known)}
    EXAMPLES[each] = [command for command in commands(each) if command not in seen]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages suppose: the examples of the repository, and a video."""
    found = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", found / "examples")
    command = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "color=size=320x240:rate=5"]
    command += ["-i", found / "examples" / "interview.flac", "-shortest", "-pix_fmt", "yuv420p", found / "talk.mp4"]
    subprocess.run(command, check=True)
    return found


def run(command: list[str], folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def watch(command: str, folder: Path) -> None:
    """Run it until it has transcribed what the folder holds, and press Ctrl-C."""
    program = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(program, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("3 of 3 done" in line for line in process.stderr)
        time.sleep(1)  # Until it looks at the folder again: Ctrl-C during work is another exit code.
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 0


def test_the_first_two_commands_set_everything_up() -> None:
    install, test = SET_UP
    assert install.endswith("mtasr transcribe examples/interview.flac")
    assert test.endswith("pytest -m ''")
    assert "README.md | head -n 2" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.weights
@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_commands(page: Path, folder: Path) -> None:
    for command in EXAMPLES[page]:
        assert re.match(r"(MTASR_\w+=\S+ )?mtasr ", command)
        if command.startswith("mtasr watch "):
            watch(command, folder)
        elif "--quiet" in command:
            assert not run(["bash", "-c", command], folder)
        else:
            assert run(["bash", "-c", f"{command} 2>&1"], folder).strip()


@pytest.mark.weights
def test_programs(folder: Path) -> None:
    (program,) = blocks(README, "python")
    printed = run([sys.executable, "-W", "error", "-c", program], folder)
    assert printed.startswith("en Good morning")
    assert (folder / "interview.vtt").read_text(encoding="utf-8").startswith("WEBVTT")


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def anchors(page: Path) -> set[str]:
    """The names GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        target, _, anchor = "".join(link).partition("#")
        if not target.startswith("http"):
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), (target, anchor)


@pytest.mark.parametrize("page", [README, *GUIDE], ids=lambda page: page.stem)
def test_options_and_commands_exist(page: Path) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--(?:\[no-\])?([a-z][a-z0-9-]*)", reference)) | {"help", "version"}
    text = re.sub(r"`(pip|python|find|ray|torchrun) [^`]*`", "", page.read_text(encoding="utf-8"))
    text = re.sub(r"^(cp|curl|journalctl|openssl|podman|python|ray|torchrun) .*$", "", text, flags=re.MULTILINE)
    mentioned = re.findall(r"(?<![\w-])--([a-z][a-z0-9_-]*)", "\n".join(re.findall(r"`([^`]+)`", text)))
    names = {name.replace("_", "-") for name in mentioned}
    assert not {name for name in names if name not in options and name.removeprefix("no-") not in options}
    for name in re.findall(r"`mtasr ([a-z][a-z-]*)", text):
        assert f"## mtasr {name}\n" in reference


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_the_documents_exist(page: Path) -> None:
    for name in re.findall(
        r"`((?:mtasr|tests|benchmarks|docs|examples)/[a-z0-9_/.]+)`", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / name).exists(), name


def test_recipes_exist() -> None:
    recipes = re.findall(r"^([a-z][a-z-]*)[^:\n]*:$", (ROOT / "justfile").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for page in DOCUMENTS for name in re.findall(r"`just ([a-z-]+)", page.read_text(encoding="utf-8"))}
    assert named <= set(recipes)


def test_the_architecture_shows_every_folder_and_the_layers_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "mtasr").glob("*/__init__.py")}
    assert folders == set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE))
    picture = text[text.index("```text\n") :].split("```")[1]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = [folders & set(re.split(r"[ |:]+", layer)) for layer in contract["layers"]]
    shown = [folders & set(line.split("#")[0].split()) for line in picture.splitlines()]
    assert [layer for layer in shown if layer] == [layer for layer in layers if layer]


def test_what_is_added_is_registered_where_the_architecture_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| To add |") :].split("\n\n")[0]
    registered = re.findall(r"one line in `(\w+)` in `(mtasr/[\w/]+\.py)`", table)
    assert len(registered) == len(table.splitlines()) - 2 - table.count("| TODO")
    for name, file in registered:
        assert re.search(rf"^{name}\b.* = ", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (name, file)
