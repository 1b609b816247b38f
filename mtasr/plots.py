"""Curves and bars as SVG: pictures of their own, and parts of pages, where they take the colour of the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

#: (x, y), in order of x.
Curve = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 220, 60, 20, 30, 30
#: Points of a curve at most; more would fall on the same pixels.
_POINTS = 500
#: Middle tones, for light pages and dark ones.
_COLOURS = ("#1f6fb4", "#d1661f", "#2a8f4f", "#a64ca6", "#c0392b", "#8a7a1f", "#2b9aa0", "#7a6ad8")
_LEGEND, _CHARACTERS = 18, 90


class Panel:
    """One plot: SVG elements that fill `height` pixels from the top."""

    def __init__(self, height: int, draw: Callable[[int], str]) -> None:
        self.height, self.draw = height, draw


def curves(title: str, drawn: Mapping[str, Curve], *, last: float, x_title: str = "", numbered: bool = False) -> Panel:
    """Curves by name over x from 0 to `last`; several have a legend, and those without points are left out.

    `numbered` writes whole numbers along x and draws each point. The lowest and the highest value are written at the
    axis. Raises `ValueError` without points.
    """
    thinned = {name: _thinned(curve) for name, curve in drawn.items() if curve}
    if not thinned:
        raise ValueError("no points")
    values = [value for curve in thinned.values() for _, value in curve]
    low, high = min(values), max(values)
    legend = len(thinned) * _LEGEND if len(thinned) > 1 else 0

    def draw(top: int) -> str:
        x, y = _scale(last or 1, low, high, top)
        parts = [_frame(title, top, x_title), _axis_values(low, high, y)]
        parts += [_number(x(place), top, place) for place in range(int(last) + 1) if numbered and _told(place, last)]
        for place, (name, curve) in enumerate(thinned.items()):
            colour = _COLOURS[place % len(_COLOURS)]
            points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            shown = curve if numbered else curve[-1:]
            parts += [f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="2" fill="{colour}"/>' for at, value in shown]
            if legend:
                baseline = top + _HEIGHT + place * _LEGEND + 8
                parts.append(f'<rect x="{_LEFT}" y="{baseline - 9}" width="10" height="10" fill="{colour}"/>')
                parts.append(f'<text x="{_LEFT + 16}" y="{baseline}">{escape(name[:_CHARACTERS])}</text>')
        return "".join(parts)

    return Panel(_HEIGHT + legend, draw)


def bars(title: str, values: Sequence[float]) -> Panel:
    """A bar for each value, numbered from 0, from zero up. Raises `ValueError` without values."""
    if not values:
        raise ValueError("no values")
    high = max(*values, 0.0) or 1.0

    def draw(top: int) -> str:
        _, y = _scale(1, 0.0, high, top)
        wide = (_WIDTH - _LEFT - _RIGHT) / len(values)
        parts = [_frame(title, top, ""), _axis_values(0.0, high, y)]
        for place, value in enumerate(values):
            left, height = _LEFT + place * wide, y(0.0) - y(max(value, 0.0))
            parts.append(
                f'<rect x="{left + 0.15 * wide:.1f}" y="{y(max(value, 0.0)):.1f}" width="{0.7 * wide:.1f}" '
                f'height="{height:.1f}" fill="{_COLOURS[0]}"><title>{place}: {value:.4g}</title></rect>'
            )
            if _told(place, len(values)):
                parts.append(_number(left + wide / 2, top, place))
        return "".join(parts)

    return Panel(_HEIGHT, draw)


def picture(panels: Sequence[Panel], *, label: str = "", page: bool = False) -> str:
    """Panels below each other as an SVG document with a white background, or for a page, without one."""
    height, parts = 0, []
    for panel in panels:
        parts.append(panel.draw(height))
        height += panel.height
    look = 'font-family="sans-serif" font-size="12"'
    if page:
        named = f'role="img" aria-label="{escape(label)}"'
        return f'<svg viewBox="0 0 {_WIDTH} {height}" {named} {look}>{"".join(parts)}</svg>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {look}>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _scale(last: float, low: float, high: float, top: int) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """From an x and from a value to pixels."""
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = top + _HEIGHT - _BOTTOM
    return (
        lambda step: _LEFT + width * step / last,
        lambda value: bottom - height * (value - low) / ((high - low) or 1),
    )


def _frame(title: str, top: int, x_title: str) -> str:
    bottom, right = top + _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return (
        f'<text x="{_LEFT}" y="{top + _TOP - 10}" font-weight="bold">{escape(title)}</text>'
        f'<path d="M{_LEFT} {top + _TOP}V{bottom}H{right}" fill="none" stroke="#888"/>'
    ) + (f'<text x="{right}" y="{bottom + 18}" text-anchor="end">{escape(x_title)}</text>' if x_title else "")


def _number(x: float, top: int, place: int) -> str:
    return f'<text x="{x:.1f}" y="{top + _HEIGHT - _BOTTOM + 18}" text-anchor="middle">{place}</text>'


def _told(place: int, last: float) -> bool:
    """Whether a number along x is written; all would be too many."""
    return last <= 30 or place % 5 == 0


def _axis_values(low: float, high: float, y: Callable[[float], float]) -> str:
    shown = [high, low] if low < high else [high]
    return "".join(f'<text x="{_LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.4g}</text>' for v in shown)


def _thinned(curve: Curve) -> Curve:
    """At most `_POINTS` points: the means of neighbours."""
    size = -(-len(curve) // _POINTS) or 1
    groups = [curve[first : first + size] for first in range(0, len(curve), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
