"""Charts as inline SVG, drawn by hand: no dependency, no script, no colour that carries meaning alone.

Every function returns one `<svg role="img">` element with a title and a description, escapes all text itself and takes
its colours from the page's style sheet by class, so that one chart serves light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ringfort.report.words import clean

__all__ = ["Heat", "Line", "bar", "heat_map", "line_chart", "log_chart", "spread"]

COLOURS = 7
DASHES = ("7 4", "", "9 3", "2 3", "9 3 2 3")
GUIDE = -1
_CHARACTER = 7.3
_GAP = 14.0
_LEVELS = 12
_DECADES = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Args:
        label: written at the line's right end.
        points: (round, value in [0, 1]) in order.
        band: (round, low, high) around it, or nothing.
        style: which colour and dash; GUIDE draws a dotted reference line.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()
    style: int = 0


@dataclass(frozen=True, slots=True)
class Heat:
    """One field of a heat map: its shade in [0, 1], or None for no result, and the text written into it."""

    shade: float | None
    text: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where data land on a line chart."""

    left: float
    right: float
    top: float
    bottom: float
    first: float
    last: float

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * (value - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * min(max(value, 0.0), 1.0)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart and, if they fit, within [low, high].

    >>> spread([50, 50, 10], 14, 0, 100)
    [50.0, 64.0, 10.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    placed = [0.0] * len(wanted)
    floor = low
    for i in order:
        placed[i] = max(float(wanted[i]), floor)
        floor = placed[i] + gap
    ceiling = max(high, low + gap * (len(wanted) - 1))
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def line_chart(
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    width: float = 440,
    across: str = "round",
    top: float | None = None,
) -> str:
    """Values in per cent over rounds, each line named where it ends.

    Args:
        title: the accessible name.
        description: what a reader who cannot see the chart should know.
        lines: at least one point among them, or the chart says that there is no data.
        width: in CSS pixels at scale one; the page may stretch it.
        across: what the horizontal axis shows.
        top: what the whole height stands for, if it is not 100 %; values stay shares of it.
    """
    lines = [
        Line(line.label, tuple(p for p in line.points if all(map(math.isfinite, p))), line.band, line.style)
        for line in lines
    ]
    drawn = [line for line in lines if line.points]
    rounds = [x for line in drawn for x, _ in line.points]
    if not rounds:
        return _svg(width, 60, title, description, [_text(width / 2, 34, "no data", "middle", "tick")])
    height = max(212.0, 50 + _GAP * len(drawn))
    names = [_short(line.label, 18) for line in drawn]
    room = 30 + _CHARACTER * max(map(len, names))
    first, last = min(rounds), max(rounds)
    frame = _Frame(40, width - room, 10, height - 36, first, last if last > first else first + 1)
    body = _grid(frame, first, last, across, top)
    ends = spread([frame.y(line.points[-1][1]) for line in drawn], _GAP, frame.top, frame.bottom)
    body += [_band(frame, line) for line in drawn if line.band]
    body += [_line(frame, line) for line in drawn]
    for line, name, y in zip(drawn, names, ends, strict=True):
        body += _end_label(frame, line, name, y)
    return _svg(width, height, title, description, body)


def log_chart(title: str, description: str, lines: Sequence[Line], *, across: str, width: float = 440) -> str:
    """Rates over rates, both on logarithmic axes from 0.1 % to 100 %; smaller ones lie on the edge.

    Args:
        title: the accessible name.
        description: what a reader who cannot see the chart should know.
        lines: (x, y) in [0, 1], in order of x; named on the right.
        across: what the horizontal axis shows.
        width: in CSS pixels at scale one; the page may stretch it.
    """
    drawn = [Line(line.label, _logarithms(line.points), (), line.style) for line in lines if line.points]
    if not drawn:
        return _svg(width, 60, title, description, [_text(width / 2, 34, "no data", "middle", "tick")])
    names = [_short(line.label, 22) for line in drawn]
    room = 30 + _CHARACTER * max(map(len, names))
    frame = _Frame(40, width - room, 10, 244, -_DECADES, 0)
    body = []
    for decade in range(_DECADES + 1):
        y, label = frame.y(decade / _DECADES), f"{10.0 ** (decade - _DECADES + 2):g}%"
        body.append(f'<path class="grid" d="M{_n(frame.left)} {_n(y)}H{_n(frame.right)}"/>')
        body.append(_text(frame.left - 6, y + 4, label, "end", "tick"))
        body.append(_text(frame.x(decade - _DECADES), frame.bottom + 15, label, "middle", "tick"))
    body.append(_text((frame.left + frame.right) / 2, frame.bottom + 30, across, "middle", "tick"))
    body += [_line(frame, line) for line in drawn]
    ends = spread([frame.y(line.points[-1][1]) for line in drawn], _GAP, frame.top, frame.bottom)
    for line, name, y in zip(drawn, names, ends, strict=True):
        body += _end_label(frame, line, name, y)
    return _svg(width, frame.bottom + 36, title, description, body)


def _logarithms(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The logarithm of x, and y as its share of the axis, both cut at the lowest decade."""
    cut = [[max(math.log10(max(value, 1e-12)), -_DECADES) for value in point] for point in points]
    return tuple((x, 1 + y / _DECADES) for x, y in cut)


def heat_map(
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Heat]],
    *,
    kind: str,
) -> str:
    """A matrix of shaded fields with their numbers; many rows shrink to strips without numbers.

    Args:
        title: the accessible name.
        description: what a reader who cannot see the map should know.
        rows: their names.
        columns: their names, slanted where they are long.
        cells: one row of fields for each of `rows`.
        kind: the style class of the fields, `loss` or `amount`.
    """
    strips = len(rows) > 30
    tall, wide = (6.0, 16.0) if strips else (20.0, 36.0)
    names, heads = [_short(r, 24) for r in rows], [_short(c, 14) for c in columns]
    slanted = max(map(len, heads), default=0) > 4 or (strips and max(map(len, heads), default=0) > 2)
    left = 8 + (_CHARACTER + 0.2) * max(map(len, names), default=0)
    top = 18.0 if not slanted else 14 + 4.7 * max(map(len, heads))
    overhang = 4.7 * max(map(len, heads[-2:]), default=0) if slanted else 0
    body = [
        _text(
            left + wide * (j + 0.5) + (4 if slanted else 0),
            top - 5,
            head,
            "start" if slanted else "middle",
            "tick",
            f' transform="rotate(-45 {_n(left + wide * (j + 0.5) + 4)} {_n(top - 5)})"' if slanted else "",
        )
        for j, head in enumerate(heads)
    ]
    fields: dict[str, list[str]] = {}
    for i, (name, row) in enumerate(zip(names, cells, strict=True)):
        y = top + tall * i
        if not strips or i % 10 == 0:
            body.append(_text(left - 6, y + (14 if not strips else 8), name, "end", "tick"))
        for j, heat in enumerate(row):
            box = f"M{_n(left + wide * j)} {_n(y)}h{_n(wide - 1)}v{_n(tall - 1)}h{_n(1 - wide)}z"
            fields.setdefault(_level(heat.shade), []).append(box)
    body += [_field(kind, level, boxes) for level, boxes in sorted(fields.items())]
    if not strips:
        body += [
            _text(left + wide * (j + 0.5) - 0.5, top + tall * i + 13.5, heat.text, "middle", "value")
            for i, row in enumerate(cells)
            for j, heat in enumerate(row)
            if heat.text
        ]
    return _svg(left + wide * len(columns) + overhang, top + tall * len(rows), title, description, body)


def bar(value: float, *, top: float, title: str, mark: float | None = None) -> str:
    """One horizontal bar for a table's row, full at `top`, with a tick at `mark`."""
    width, height = 120.0, 12.0

    def along(amount: float) -> float:
        inside = math.isfinite(amount) and top > 0
        return width * min(max(amount / top, 0.0), 1.0) if inside else 0.0

    body = [
        f'<rect class="track" x="0" y="2" width="{_n(width)}" height="8"/>',
        f'<rect class="bar" x="0" y="2" width="{_n(along(value))}" height="8"/>',
    ]
    if mark is not None:
        body.append(f'<path class="mark" d="M{_n(along(mark))} 0v{_n(height)}"/>')
    return _svg(width, height, title, "", body)


def _svg(width: float, height: float, title: str, description: str, body: Sequence[str]) -> str:
    told = f"<desc>{_escaped(description)}</desc>" if description else ""
    return (
        f'<svg role="img" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}">'
        f"<title>{_escaped(title)}</title>{told}{''.join(body)}</svg>"
    )


def _grid(frame: _Frame, first: float, last: float, across: str, top: float | None) -> list[str]:
    shapes = []
    for quarter in range(5):
        y = frame.y(quarter / 4)
        shapes.append(f'<path class="grid" d="M{_n(frame.left)} {_n(y)}H{_n(frame.right)}"/>')
        label = f"{25 * quarter}%" if top is None else f"{top * quarter / 4:.3g}"
        shapes.append(_text(frame.left - 6, y + 4, label, "end", "tick"))
    shapes += [_text(frame.x(k), frame.bottom + 15, f"{k:g}", "middle", "tick") for k in _rounds(first, last)]
    shapes.append(_text((frame.left + frame.right) / 2, frame.bottom + 30, across, "middle", "tick"))
    return shapes


def _rounds(first: float, last: float) -> list[float]:
    """At most five whole rounds to write under the axis."""
    if last <= first:
        return [first]
    step = next(s * 10**power for power in range(12) for s in (1, 2, 5) if (last - first) / (s * 10**power) <= 4)
    start = math.ceil(first / step) * step
    return [start + step * i for i in range(int((last - start) // step) + 1)]


def _band(frame: _Frame, line: Line) -> str:
    upper = [f"{_n(frame.x(x))} {_n(frame.y(high))}" for x, _, high in line.band]
    lower = [f"{_n(frame.x(x))} {_n(frame.y(low))}" for x, low, _ in reversed(line.band)]
    return f'<path class="band {_colour(line)}" d="M{"L".join(upper + lower)}z"/>'


def _line(frame: _Frame, line: Line) -> str:
    path = "L".join(f"{_n(frame.x(x))} {_n(frame.y(y))}" for x, y in line.points)
    return f'<path class="line {_colour(line)}" fill="none"{_dash(line)} d="M{path}"/>'


def _end_label(frame: _Frame, line: Line, name: str, y: float) -> list[str]:
    x, end = line.points[-1]
    leader = f"M{_n(frame.x(x) + 1)} {_n(frame.y(end))}L{_n(frame.right + 7)} {_n(y)}"
    sample = f"M{_n(frame.right + 7)} {_n(y)}h15"
    return [
        f'<path class="leader" fill="none" d="{leader}"/>',
        f'<path class="line {_colour(line)}" fill="none"{_dash(line)} d="{sample}"/>',
        _text(frame.right + 25, y + 4, name, "start", "end"),
    ]


def _colour(line: Line) -> str:
    return "guide" if line.style == GUIDE else f"s{line.style % COLOURS}"


def _dash(line: Line) -> str:
    dash = "1 3" if line.style == GUIDE else DASHES[line.style % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _level(shade: float | None) -> str:
    if shade is None or not math.isfinite(shade):
        return "gap"
    return _n(round(min(max(shade, 0.0), 1.0) * _LEVELS) / _LEVELS * 0.6)


def _field(kind: str, level: str, boxes: Sequence[str]) -> str:
    if level == "gap":
        return f'<path class="gap" fill="none" d="{"".join(boxes)}"/>'
    return f'<path class="field {kind}" fill-opacity="{level}" d="{"".join(boxes)}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str, more: str = "") -> str:
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{more}>{_escaped(text)}</text>'


def _short(text: str, longest: int) -> str:
    line = clean(text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _escaped(text: str) -> str:
    return escape(clean(text))


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 1 else f"{value:.2f}".rstrip("0").rstrip(".")
