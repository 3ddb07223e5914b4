"""Accuracy against epsilon: the page, its JSON, and the table for a terminal."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ringfort.audit.utility import Priced, PrivacyCurve
from ringfort.report import svg
from ringfort.report.files import plain_json, write_parts
from ringfort.report.html import _provenance, _render, _safe
from ringfort.report.summary import KeyNumber
from ringfort.report.terminal import _bullets, _head, _table
from ringfort.report.words import clean, duration, percent

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["curve_html", "curve_summary", "write_curve"]

_LIMITS = (
    "Every run is a release of its own. Choosing a budget, a clip or a learning rate by what it does to the accuracy "
    "on the clients' data costs privacy that no ledger counts: plan on public data.",
    "Accuracy is measured on the server's hold-out, which is not private.",
    "Noise comes from the operating system: a repeated run ends a little higher or lower.",
)


def write_curve(folder: Path, curve: PrivacyCurve) -> list[Path]:
    """Write `report.html` and `report.json` into an existing folder; their paths, in that order.

    Raises:
        OutputUnwritable (RF107): no permission, no space, no such folder.
    """
    parts = {"report.html": curve_html(curve), "report.json": plain_json(curve.to_json())}
    return write_parts(folder, parts)


def curve_html(curve: PrivacyCurve) -> str:
    """The curve as one HTML page, under the same guarantees as `drill_html`."""
    return _render(
        "curve.html.j2",
        result=curve,
        claim=f"{curve.claim.text} Against: {curve.claim.against}. It trusts: {curve.claim.trusts}.",
        key_numbers=_key_numbers(curve),
        charts=[("Accuracy against epsilon", _accuracy(curve)), ("Epsilon over the rounds", _spent(curve))],
        rows=_rows(curve),
        clean=(percent(fmean(curve.clean)), _ends(curve.clean)),
        limits=_LIMITS,
        **_provenance(curve.manifest),
    )


def curve_summary(curve: PrivacyCurve) -> RenderableType:
    """One row for each budget."""
    table = _table("epsilon")
    for head in ("noise multiplier", "accuracy", "seeds from, to", "points lost"):
        table.add_column(Text(head), justify="right")
    table.add_row("no [privacy]", "", percent(fmean(curve.clean)), _ends(curve.clean), "")
    for row in _rows(curve):
        table.add_row(*row)
    said = f"{curve.rounds} rounds, {len(curve.seeds)} seeds, {duration(curve.seconds)}"
    return Group(*_head(curve.title, clean(curve.claim.text), said), Text(""), table, *_bullets("Not covered", _LIMITS))


def _rows(curve: PrivacyCurve) -> list[tuple[str, str, str, str, str]]:
    base = fmean(curve.clean)
    return [
        (
            f"{p.epsilon:g}",
            f"{p.noise_multiplier:.4g}",
            percent(p.accuracy),
            _ends(p.accuracies),
            f"{100 * (base - p.accuracy):.1f}",
        )
        for p in curve.points
    ]


def _ends(accuracies: tuple[float, ...]) -> str:
    return f"{percent(min(accuracies))}, {percent(max(accuracies))}"


def _key_numbers(curve: PrivacyCurve) -> tuple[KeyNumber, ...]:
    def at(point: Priced) -> KeyNumber:
        lost = 100 * (fmean(curve.clean) - point.accuracy)
        note = f"{lost:.1f} points below the run without [privacy], noise multiplier {point.noise_multiplier:.3g}"
        return KeyNumber(f"Accuracy at epsilon {point.epsilon:g}", percent(point.accuracy), note)

    ends = curve.points[:1] if len(curve.points) == 1 else (curve.points[0], curve.points[-1])
    without = KeyNumber("Without [privacy]", percent(fmean(curve.clean)), f"mean of {len(curve.seeds)} seeds")
    return (without, *map(at, ends))


def _accuracy(curve: PrivacyCurve) -> Markup:
    points = curve.points
    band = tuple((p.epsilon, min(p.accuracies), max(p.accuracies)) for p in points)
    lines = [svg.Line("with noise", tuple((p.epsilon, p.accuracy) for p in points), band if len(band) > 1 else (), 1)]
    first, last = points[0].epsilon, points[-1].epsilon
    base = fmean(curve.clean)
    lines.append(svg.Line("without", ((first, base), (last if last > first else first + 1, base)), style=svg.GUIDE))
    said = "; ".join(f"epsilon {p.epsilon:g}: {percent(p.accuracy)}" for p in points)
    drawing = svg.line_chart("Accuracy against epsilon", said, lines, width=560, across="epsilon of the whole run")
    return _safe(drawing)


def _spent(curve: PrivacyCurve) -> Markup:
    top = curve.points[-1].epsilon
    lines = [
        svg.Line(f"epsilon {p.epsilon:g}", tuple((float(r), e / top) for r, e in p.spent), (), i + 1)
        for i, p in enumerate(curve.points)
    ]
    said = f"What every budget has spent after each round, at delta {curve.delta:g}"
    return _safe(svg.line_chart("Epsilon over the rounds", said, lines, width=560, top=top))
