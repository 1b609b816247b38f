"""Writing systems without spaces between words."""

from __future__ import annotations

import itertools
import re

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
THAI = r"\u0e00-\u0e7f"
_WIDE = rf"{HAN}{KANA}\u3000-\u303f\uff00-\uff65"
#: Chinese and Japanese, with their punctuation.
UNSPACED = re.compile(f"[{_WIDE}]")
_SHARED_MARKS = "“”‘’…—"
#: The characters around a line break that replaces no space.
_BARE = re.compile(f"[{_WIDE}][{_WIDE}{_SHARED_MARKS}]|[{_SHARED_MARKS}][{_WIDE}]|[{THAI}]{{2}}")


def without_space(before: str, after: str) -> bool:
    """Whether two consecutive sentences or words, neither of them empty, have no space between them."""
    return bool(UNSPACED.match(before[-1]) and UNSPACED.match(after[0]))


def join_lines(lines: list[str]) -> str:
    """Join lines, none of them empty, with a space for each line break that replaces one.

    Thai has spaces between sentences, but lines mostly break within sentences.
    """
    pieces = lines[:1]
    for before, after in itertools.pairwise(lines):
        pieces += [after] if _BARE.fullmatch(before[-1] + after[0]) else [" ", after]
    return "".join(pieces)
