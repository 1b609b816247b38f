"""Random faults in the code that shapes results: how many of them does a test notice?

    python benchmarks/mutants.py [--count 160] [--seed 0] [--modules writers,journal] [--only writers:12,journal:3]

Of all small changes to the modules below (an operator, a comparison, a constant, a condition, a result, a statement
left out) some are drawn, and each is made in a copy of the package, where the tests of that module run until one
fails. A change is killed by a failing test or by running much longer than the tests otherwise do; the others survive,
and are shown. Not changed are annotations, decorators, docstrings, the messages of errors and definitions whose absence
would be a NameError. `--only` repeats single ones by the names that a run prints.

Each set of tests runs in a fork of this process, which has imported what they need but not the package.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parent.parent

#: Module -> the tests that cover it, quick ones first.
COVERED = {
    "mtasr/formats/ass.py": ["tests/formats"],
    "mtasr/formats/cue_text.py": ["tests/formats"],
    "mtasr/formats/cues.py": ["tests/formats"],
    "mtasr/formats/srt.py": ["tests/formats"],
    "mtasr/formats/transcript_json.py": ["tests/formats", "tests/cli/test_cli_view.py"],
    "mtasr/subtitles/__init__.py": ["tests/subtitles"],
    "mtasr/subtitles/units.py": ["tests/subtitles"],
    "mtasr/subtitles/breaks.py": ["tests/subtitles"],
    "mtasr/subtitles/layout.py": ["tests/subtitles"],
    "mtasr/engines/rules.py": ["tests/engines/test_rules.py", "tests/engines/test_search.py"],
    "mtasr/decoding/windows.py": ["tests/decoding/test_windows.py", "tests/decoding/test_window_decoder.py"],
    "mtasr/decoding/timing/segments.py": [
        "tests/decoding/timing/test_segments.py",
        "tests/decoding/test_longform.py",
        "tests/decoding/test_window_decoder.py",
        "tests/decoding/test_fuzzed_outputs.py",
    ],
    "mtasr/batch/journal.py": ["tests/batch/test_journal.py", "tests/cli/test_cli_batch.py"],
}

#: What the tests import, so that a fork need not.
PRELOADED = ("budoux", "click.testing", "ctranslate2", "filelock", "numpy", "pysubs2", "requests", "rich.console",
             "tiktoken", "torch", "threadpoolctl", "xml.etree.ElementTree")  # fmt: skip

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}

Edit = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """The `number`th change that there is to a module."""

    module: str
    number: int

    @property
    def name(self) -> str:
        return f"{short(self.module)}:{self.number}"


def short(module: str) -> str:
    path = Path(module)
    return path.parent.name if path.stem == "__init__" else path.stem


def edits(tree: ast.AST) -> Iterator[Edit]:
    """Each change that can be made to a tree, as a function that makes it."""
    for node in _code(tree):
        for make in (_operators, _values, _conditions, _statements):
            yield from make(node)


def _operators(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPPED:
        yield lambda: setattr(node, "op", _SWAPPED[type(node.op)]())
    elif isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            yield partial(node.ops.__setitem__, place, _SWAPPED[type(op)]())
    elif isinstance(node, ast.UnaryOp):
        yield lambda: _become(node, node.operand)


def _values(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Constant) and (other := _other(node.value)) is not None:
        yield lambda: setattr(node, "value", other)
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield lambda: setattr(node, "id", _NAMES[node.id])
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield lambda: setattr(node, "attr", _NAMES[node.attr])


def _conditions(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            yield partial(node.ifs.__setitem__, place, ast.UnaryOp(ast.Not(), test))


def _statements(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Return) and not _is_none(node.value):
        yield lambda: setattr(node, "value", ast.Constant(None))
    if isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Break | ast.Continue) or (
        isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)
    ):
        yield lambda: _become(node, ast.Pass())


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that do something when the program runs."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"} or (isinstance(node, ast.Raise) and name == "exc"):
            continue
        for child in value if isinstance(value, list) else [value]:
            documents = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not documents and not isinstance(child, ast.Import | ast.ImportFrom):
                yield from _code(child)


def _become(node: ast.AST, other: ast.AST) -> None:
    """Make a node another one, in place."""
    node.__class__ = other.__class__
    kept = {name: value for name, value in vars(node).items() if name.endswith(("lineno", "offset"))}
    vars(node).clear()
    vars(node).update(vars(other) | kept)


def _other(value: object) -> object:
    """Another constant of the kind, None for one that has no other."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 2 or 1.0
    if isinstance(value, str):
        return "" if value else "?"
    return b"?" + value if isinstance(value, bytes) else None


def _is_none(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def changed(source: str, number: int) -> tuple[str, str]:
    """The module without comments, as it is and with one change."""
    tree = ast.parse(source)
    before = ast.unparse(tree)
    list(edits(tree))[number]()
    return before, ast.unparse(ast.fix_missing_locations(tree))


class NoShrinking:
    """Hypothesis: that an example fails is enough, the smallest one is not looked for."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", settings.get_profile("repeatable"), phases=phases)
        settings.load_profile("mutants")


def run_tests(folder: Path, tests: list[str], limit: float, output: Path) -> str:
    """Run them in a fork: "passed", "failed", or "timed out"."""
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(folder)
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.path[:] = [str(folder), *(each for each in sys.path if Path(each or ".").resolve() != ROOT)]
        os.environ["PYTHONPATH"] = str(folder)
        command = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests]
        os._exit(int(pytest.main(command, plugins=[NoShrinking()])))
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "passed" if code == 0 else "failed"
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "timed out"


def prepared(folder: Path) -> None:
    """A copy of what the tests need; bytecode of the modules that are changed is never written or read."""
    for name in ("mtasr", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", type=lambda text: text.split(","), default=[short(each) for each in COVERED])
    parser.add_argument("--only", type=lambda text: text.split(","), help="these mutants, such as writers:12")
    args = parser.parse_args()
    sources = {each: (ROOT / each).read_text() for each in COVERED if short(each) in args.modules}
    known = [Mutant(m, n) for m, text in sources.items() for n in range(len(list(edits(ast.parse(text)))))]
    chosen = [each for each in known if each.name in args.only] if args.only else known
    # By a number that each has for itself, so that a changed module changes nothing in the draw from the others.
    drawn = sorted(chosen, key=lambda each: random.Random(f"{args.seed} {each.name}").random())[: args.count]
    chosen = sorted(drawn, key=known.index)
    for name in PRELOADED:
        __import__(name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name, "copy"), Path(name, "log")
        prepared(folder)
        for module, text in sources.items():  # as they are in the tests of mutants, without comments
            (folder / module).write_text(ast.unparse(ast.parse(text)))
        limits = {}
        for module in dict.fromkeys(each.module for each in chosen):
            started = time.monotonic()
            if run_tests(folder, COVERED[module], 600, log) != "passed":
                raise SystemExit(f"{module}: its tests fail without any change\n{log.read_text()}")
            limits[module] = 10 + 5 * (time.monotonic() - started)
            print(f"{short(module)}: its tests take {time.monotonic() - started:.1f} s", flush=True)
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for module in sources:
            for compiled in (folder / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc"):
                compiled.unlink()
        found: Counter[tuple[str, str]] = Counter()
        for mutant in chosen:
            before, after = changed(sources[mutant.module], mutant.number)
            (folder / mutant.module).write_text(after)
            what = run_tests(folder, COVERED[mutant.module], limits[mutant.module], log)
            (folder / mutant.module).write_text(before)
            found[mutant.module, what] += 1
            if what == "passed":
                lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
                print(f"\n{mutant.name} survives:\n" + "\n".join(list(lines)[2:]), flush=True)
            else:
                because = [line for line in log.read_text().splitlines() if line.startswith(("FAILED", "ERROR"))]
                print(f"{mutant.name} {what} {' '.join(because)}", flush=True)
    report(found, len(known), args.seed, time.monotonic() - began)


def report(found: Counter[tuple[str, str]], known: int, seed: int, seconds: float) -> None:
    rows = [(short(m), *(found[m, what] for what in ("failed", "timed out", "passed"))) for m, _ in found]
    rows = list(dict.fromkeys(rows))
    rows.append(("all", *(sum(row[place] for row in rows) for place in (1, 2, 3))))
    print(f"\nseed {seed}, {sum(rows[-1][1:])} of {known} mutants, {seconds:.0f} s\n")
    print("| | drawn | a test fails | timed out | survive | killed |\n|---|---|---|---|---|---|")
    for name, failed, timed_out, survive in rows:
        drawn = failed + timed_out + survive
        print(f"| {name} | {drawn} | {failed} | {timed_out} | {survive} | {(failed + timed_out) / drawn:.0%} |")


if __name__ == "__main__":
    main()
