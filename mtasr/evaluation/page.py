"""An evaluation as one self-contained HTML page: figures, plots, and the worst clips word by word."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TextIO

from mtasr import html_page
from mtasr.evaluation.results import Evaluation, Result, rates_shown
from mtasr.evaluation.scores import Figure, Scores, Step
from mtasr.tokenizer.languages import LANGUAGES

_STYLE = """
.dot { fill: var(--bar); opacity: .6; }
.whisker { stroke: currentColor; fill: none; }
.grid { stroke: var(--line); } article { margin: 1rem 0; } article p { margin: .2rem 0; }
del { background: var(--gone); text-decoration: line-through; } ins { background: var(--new); font-weight: 600;
  text-decoration: none; } del, ins { padding: 0 .15em; border-radius: 2px; }
"""
_Column = tuple[str, str, bool]
#: Columns: heading, field of `Scores`, whether it is a rate (shown in percent).
_COLUMNS = (
    ("WER", "wer", True),
    ("cpWER", "cpwer", True),
    ("CER", "cer", True),
    ("BLEU", "bleu", False),
    ("chrF", "chrf", False),
    ("Language right", "language_accuracy", True),
)
#: The same of speakers.
_SPEAKER_COLUMNS = (
    ("DER", "der", True),
    ("Missed", "missed_speech", True),
    ("False alarm", "false_alarm", True),
    ("Confusion", "confusion", True),
    ("JER", "jer", True),
    ("Speakers off by", "speaker_count_error", False),
    ("Number right", "speaker_count_accuracy", True),
)


def write_page(evaluation: Evaluation, title: str, stream: TextIO, *, worst: int = 20) -> None:
    """Write the page, with the `worst` clips that have the most errors."""
    stream.write(html_page.start(title, _STYLE))
    stream.write(_table(evaluation) + _speakers(evaluation, worst))
    rates = [(code, each.wer) for code, each in evaluation.languages.items() if each.wer is not None]
    if rates:
        stream.write("<h2>Word error rate by language</h2>\n" + _bars(rates))
        stream.write("<h2>Word error rate of each clip by its length</h2>\n" + _dots(evaluation.results))
    shown = evaluation.worst(worst)
    if shown:
        stream.write("<h2>Clips with the most errors</h2>\n<p><small>Texts are normalised: without case and marks. ")
        stream.write("<del>Not recognised</del>, <ins>recognised in its place</ins>.</small></p>\n")
    for result in shown:
        stream.write(_clip(evaluation.name(result), result))
    failed = [result for result in evaluation.results if result.failures]
    if failed:
        told = dict.fromkeys(str(error) for result in failed for error in result.failures)
        stream.write("<h2>Clips that failed</h2>\n<ul>\n")
        stream.writelines(f"<li>{escape(str(error))}</li>\n" for error in told)
        stream.write("</ul>\n")
    stream.write(html_page.END)


def _table(evaluation: Evaluation) -> str:
    columns = _present(evaluation, _COLUMNS)
    return html_page.table(
        ["Spoken", "Clips", "Minutes", *(head for head, _, _ in columns), "Real-time factor"],
        [_row(_language(code), each, columns) for code, each in evaluation.by_language.items()],
        _row("all", evaluation.total, columns),
    ) + (
        "<p><small>Below each figure: 95 % confidence intervals by drawing clips. The real-time factor is without "
        "loading the model.</small></p>\n"
    )


def _speakers(evaluation: Evaluation, worst: int) -> str:
    """The errors of speakers for each language, and in the clips with the most of them."""
    columns = _present(evaluation, _SPEAKER_COLUMNS)
    if not columns:
        return ""
    page = "<h2>Who speaks when</h2>\n" + html_page.table(
        ["Spoken", *(head for head, _, _ in columns)],
        [html_page.row([_language(code), *_figures(each, columns)]) for code, each in evaluation.by_language.items()],
        html_page.row(["all", *_figures(evaluation.total, columns)]),
    )
    page += (
        "<p><small>Diarization error rate (DER) and its parts missed speech, false alarm and confusion: shares of the "
        "time spoken. Jaccard error rate (JER): each speaker counts alike. cpWER: word error rate in which words of "
        "another speaker are wrong, too.</small></p>\n"
    )
    clips = evaluation.worst_speakers(worst)
    if clips:
        heads = [*(head for head, _, _ in _SPEAKER_COLUMNS[:5]), "cpWER"]
        shown = rates_shown(clips)
        unit = "Seconds wrong" if evaluation.counts_seconds else "Words wrong"
        page += "<h2>Clips with the most errors of speakers</h2>\n" + html_page.table(
            ["Clip", unit, *(heads[place] for place in shown), "Speakers"],
            [_speakers_row(evaluation, clip, shown) for clip in clips],
        )
    return page


def _speakers_row(evaluation: Evaluation, result: Result, shown: Sequence[int]) -> str:
    there, found = result.speaker_counts or (0, 0)
    rates = [result.speaker_rates[place] for place in shown]
    cells = ["" if rate is None else f"{100 * rate:.1f} %" for rate in rates]
    return html_page.row([evaluation.name(result), evaluation.wrong(result), *cells, f"{found} of {there}"])


def _present(evaluation: Evaluation, columns: Sequence[_Column]) -> list[_Column]:
    return [column for column in columns if getattr(evaluation.total, column[1]) is not None]


def _language(code: str) -> str:
    return f"{LANGUAGES[code].title()} ({code})" if code in LANGUAGES else code


def _row(name: str, scores: Scores, columns: Sequence[_Column]) -> str:
    factor = scores.real_time_factor
    end = "" if factor is None else f"{factor:.3f}"
    return html_page.row([name, str(scores.clips), f"{scores.audio / 60:.1f}", *_figures(scores, columns), end])


def _figures(scores: Scores, columns: Sequence[_Column]) -> list[str]:
    return [_cell(getattr(scores, field), rate) for _, field, rate in columns]


def _cell(figure: Figure | None, rate: bool) -> str:
    if figure is None:
        return ""
    value, low, high = (100 * each if rate else each for each in (figure.value, figure.low, figure.high))
    return f"{value:.1f}{' %' if rate else ''} <small>{low:.1f} – {high:.1f}</small>"


# --- plots ---------------------------------------------------------------------------------------------------------

_WIDTH, _LEFT, _ROW = 800, 60, 28


def _svg(height: int, body: str, label: str) -> str:
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">\n{body}</svg></div>\n'
    )


def _bars(rates: Sequence[tuple[str, Figure]]) -> str:
    """A bar for each language, with its interval as a whisker."""
    most = max(max(figure.value, figure.high) for _, figure in rates) or 1.0
    scale = (_WIDTH - _LEFT - 80) / most
    parts = []
    for number, (code, figure) in enumerate(rates):
        top, middle = number * _ROW + 4, number * _ROW + _ROW / 2
        low, high = _LEFT + figure.low * scale, _LEFT + figure.high * scale
        parts.append(
            f'<text x="0" y="{middle + 4}">{escape(code)}</text>'
            f'<rect class="bar" x="{_LEFT}" y="{top}" width="{figure.value * scale:.1f}" height="{_ROW - 8}"/>'
            f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}m0 -4v8M{low:.1f} {middle - 4}v8"/>'
            f'<text x="{high + 8:.1f}" y="{middle + 4}">{figure.value:.1%}</text>\n'
        )
    return _svg(len(rates) * _ROW, "".join(parts), "Word error rate by language")


_HEIGHT, _BOTTOM = 260, 30


def _dots(results: Sequence[Result]) -> str:
    """A dot for each clip: seconds to the right, error rate upwards, rates above 100 % at the top."""
    scored = [(result, result.words) for result in results if result.words is not None]
    longest = max((result.audio for result, _ in scored), default=0.0) or 1.0
    digits = 0 if longest >= 100 else 1
    wide, high = _WIDTH - _LEFT - 30, _HEIGHT - _BOTTOM - 10
    lines = [
        f'<path class="grid" d="M{_LEFT} {10 + high * (1 - part):.1f}h{wide}"/>'
        f'<text x="0" y="{14 + high * (1 - part):.1f}">{part:.0%}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    ]
    lines += [
        f'<text x="{_LEFT + wide * part:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{longest * part:.{digits}f} s</text>"
        for part in (0, 0.25, 0.5, 0.75, 1)
    ]
    dots = [
        f'<circle class="dot" r="4" cx="{_LEFT + wide * result.audio / longest:.1f}" '
        f'cy="{10 + high * (1 - min(errors.rate, 1)):.1f}"><title>{escape(result.clip.audio.name)}: '
        f"{errors.errors} of {errors.length} words</title></circle>"
        for result, errors in scored
    ]
    body = "\n".join(lines + dots)
    return _svg(_HEIGHT, body, "Word error rate of each clip by its length")


def _clip(name: str, result: Result) -> str:
    words = result.words
    wrong = f"{words.errors} of {words.length} words wrong" if words else ""
    head = f"<b>{escape(name)}</b> <small>{wrong}</small>"
    return f"<article>\n<p>{head}</p>\n<p>{' '.join(map(_step, result.steps))}</p>\n</article>\n"


def _step(step: Step) -> str:
    if step.reference == step.hypothesis:
        return escape(step.reference)
    gone = f"<del>{escape(step.reference)}</del>" if step.reference else ""
    new = f"<ins>{escape(step.hypothesis)}</ins>" if step.hypothesis else ""
    return f"{gone} {new}".strip()
