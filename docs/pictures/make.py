"""Draw the pictures of the README: `python docs/pictures/make.py`.

`terminal.svg` shows what `mtasr transcribe` prints on a terminal, `page.png` the page `mtasr view` writes. Chromium
(`apt-get install chromium`, or its path in CHROMIUM) draws the page. No test needs this script.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
MTASR = Path(sys.executable).with_name("mtasr")

COLUMNS = 90
#: The page's size in pixels, before it is drawn at twice the resolution.
PAGE_SIZE = (1120, 520)

# A line's characters, a carriage return, or the two control sequences that redraw a progress bar.
PIECE = re.compile(r"\r?\n|\r|\x1b\[2K|\x1b\[1A|\x1b\[\?\d+[hl]|(?:(?!\x1b\[2K|\x1b\[1A|\x1b\[\?)[^\r\n])+")


def on_a_terminal(command: list[str], folder: Path) -> str:
    """What the command prints on a terminal, colours included."""
    main_end, program_end = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=program_end, stderr=program_end):
        os.close(program_end)
        printed = b""
        try:
            while block := os.read(main_end, 65536):
                printed += block
        except OSError:  # Linux reports a terminal without a program as an error.
            pass
    os.close(main_end)
    return printed.decode()


def left_on_screen(printed: str) -> str:
    """The lines that stay when progress bars have been erased."""
    lines = [""]
    for piece in PIECE.findall(printed):
        if piece.endswith("\n"):
            lines.append("")
        elif piece == "\x1b[1A":
            lines.pop()
        elif piece == "\x1b[2K":
            lines[-1] = ""
        elif not piece.startswith(("\r", "\x1b[?")):
            lines[-1] += piece
    return "\n".join(lines).strip("\n")


def draw_terminal(folder: Path) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    shown = "mtasr transcribe examples/interview.flac"
    console.print(Text(f"$ {shown}", style="bold"))
    console.print(Text.from_ansi(left_on_screen(on_a_terminal([str(MTASR), *shown.split()[1:]], folder))))
    console.print()
    console.print(Text("$ cat interview.srt", style="bold"))
    console.print(Text((folder / "interview.srt").read_text(encoding="utf-8").strip()))
    svg = console.export_svg(title="mtasr", unique_id="mtasr")
    # A picture should fetch nothing: without rich's web font the reader's own monospaced one is used.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    (HERE / "terminal.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


def draw_page(folder: Path) -> None:
    subprocess.run([MTASR, "view", "examples/interview.flac", "--quiet"], cwd=folder, check=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or sys.exit("This needs Chromium.")
    width, height = PAGE_SIZE
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=2"]
    options += [f"--window-size={width},{height}", f"--screenshot={HERE / 'page.png'}", "--virtual-time-budget=2000"]
    page = (folder / "interview.html").as_uri() + "#t=6.5"
    subprocess.run([chromium, *options, page], check=True, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(EXAMPLES, folder / "examples")
        draw_terminal(folder)
        draw_page(folder)


if __name__ == "__main__":
    main()
