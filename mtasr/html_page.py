"""What pages of figures share: their beginning, their look in light and dark, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --muted: #595959; --bar: #2f67ad; --line: #8886;
  --gone: #fbdcb9; --new: #d3e3fb; }
@media (prefers-color-scheme: dark) { :root { --page: #14161a; --text: #ececec; --muted: #a8adb5; --bar: #7fb0ff;
  --gone: #5c3408; --new: #1f3a63; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--page); color: var(--text); overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; } td small { display: block; line-height: 1.2; }
small { color: var(--muted); font-size: .8rem; font-weight: normal; } tfoot td { font-weight: bold; border-bottom: 0; }
svg { display: block; width: 100%; min-width: 36rem; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.bar { fill: var(--bar); opacity: .75; }
"""

END = "</body>\n</html>\n"


def start(title: str, style: str = "") -> str:
    """The page up to its heading, the title; `style` is CSS after that of all pages."""
    name = escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{name}</title>\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    )


def table(heads: Sequence[str], rows: Iterable[str], foot: str = "") -> str:
    """A table that scrolls sideways on a narrow screen, of what `row` makes."""
    head = "".join(f"<th>{each}</th>" for each in heads)
    end = f"<tfoot>\n{foot}</tfoot>\n" if foot else ""
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n{end}</table></div>\n"
    )


def row(cells: Sequence[str]) -> str:
    """A row of a table; only its first cell may have characters that HTML reserves."""
    name, *others = cells
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (escape(name), *others)) + "</tr>\n"
