"""One self-contained page: inline style and SVG, no script, nothing loaded from anywhere, and a policy that says so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from ringfort.audit.results import (
    NO_ATTACK,
    AttackCard,
    DrillResult,
    Interval,
    Manifest,
    Point,
    TrainResult,
)
from ringfort.report import summary, svg, watching, words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["drill_html", "train_html"]

_MOST_ROWS = 120
_DARKEST = 0.5
"""Recall lost at which a field reaches its full shade."""


def drill_html(result: DrillResult) -> str:
    """The drill's report as one HTML page.

    Guarantees:
        Every string of the result is escaped and stripped of control and direction characters.
        No script, no reference to anything outside the page, and a content security policy that forbids both.
    """
    return _render(
        "drill.html.j2",
        result=result,
        verdict=summary.verdict(result),
        outcome=summary.verdict_outcome(result),
        key_numbers=summary.key_numbers(result),
        caveats=summary.caveats(result),
        titles={NO_ATTACK: "No attack"} | {a.name: a.title for a in result.attacks},
        labels={w.name: w.label for w in result.walls},
        failed=[(words.trial_label(t, result), t.error) for t in result.trials if t.error is not None],
        thresholds=words.thresholds_sentence(result.thresholds, result.rounds),
        accuracy_charts=_accuracy_charts(result),
        success_charts=[(a.title, _success_chart(result, a)) for a in result.attacks if a.targeted],
        recall_maps=[(title, _recall_map(result, name, title)) for name, title in _attacks(result)],
        sanitised=words.drill_sanitised(result),
        watched=[
            (label, [(title, watching.caught(result, name, wall)) for name, title in _rows(result)])
            for wall, label in watching.watched_walls(result)
        ],
        split=_split(result.label_counts, result.classes, _marked(result.clients, result.hostile)),
        **_provenance(result.manifest),
    )


def train_html(result: TrainResult) -> str:
    """The training run's report as one HTML page, under the same guarantees as `drill_html`."""
    shares = [c.mean_share for c in result.clients]
    equal = 1 / len(shares) if shares else 0.0
    return _render(
        "train.html.j2",
        result=result,
        verdict=summary.train_verdict(result),
        key_numbers=summary.train_key_numbers(result),
        charts=_train_charts(result),
        recall=list(zip(result.classes, result.recall, strict=True)),
        equal_share=equal,
        full_share=max([2 * equal, *shares]),
        sanitised=words.sanitised_sentences(result.sanitised),
        watch_said=watching.watch_sentences(result.watch) if result.watch else (),
        watch_sum=watching.standings_sentence(result.watch) if result.watch else "",
        watch_clients=watching.notable(result.watch) if result.watch else (),
        split=_split(result.label_counts, result.classes, tuple(c.client for c in result.clients)),
        **_provenance(result.manifest),
    )


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ringfort.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalise,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "range": words.range_of,
        "price": words.price,
        "count": words.count,
        "duration": words.duration,
        "word": words.outcome_word,
    }
    environment.globals |= {"bar": _bar, "no_attack": NO_ATTACK, "nothing": words.NOTHING}
    return environment


def _finalise(value: Any) -> Any:
    """Every expression of every template passes here: plain text is cleaned, then escaped by jinja2."""
    return words.clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _safe(drawing: str) -> Markup:
    """Mark what `svg` returns, which has escaped its own text, as finished markup."""
    from markupsafe import Markup

    return Markup(drawing)  # noqa: S704


def _bar(value: float, top: float, mark: float | None = None) -> Markup:
    return _safe(svg.bar(value, top=top, title=words.percent(value), mark=mark))


def _attacks(result: DrillResult) -> list[tuple[str, str]]:
    return [(a.name, a.title) for a in result.attacks]


def _rows(result: DrillResult) -> list[tuple[str, str]]:
    return [(NO_ATTACK, "No attack"), *_attacks(result)]


def _accuracy_charts(result: DrillResult) -> list[tuple[str, Markup]]:
    clean = result.cell(NO_ATTACK, result.walls[0].name).accuracy
    floor = None if clean is None else clean.mean - result.thresholds.accuracy_loss
    return [
        (title, _chart(result, name, "accuracy", f"Accuracy over the rounds: {title}", floor))
        for name, title in _rows(result)
    ]


def _success_chart(result: DrillResult, attack: AttackCard) -> Markup:
    title = f"Attack success over the rounds: {attack.title}"
    return _chart(result, attack.name, "attack_success", title, result.thresholds.attack_success)


def _chart(result: DrillResult, attack: str, measure: str, title: str, limit: float | None) -> Markup:
    curves = [(wall, summary.mean_curve(summary.finished(result, attack, wall.name), measure)) for wall in result.walls]
    lines = [_curve(wall.name, curve, i) for i, (wall, curve) in enumerate(curves)]
    rounds = [k for _, curve in curves for k, _ in curve]
    if limit is not None and rounds:
        lines.append(svg.Line("limit", ((min(rounds), limit), (max(rounds), limit)), style=svg.GUIDE))
    ends = [f"{wall.name} ends at {words.interval(curve[-1][1])}" for wall, curve in curves if curve]
    return _safe(svg.line_chart(title, "; ".join(ends), lines))


def _curve(label: str, curve: tuple[tuple[int, Interval], ...], style: int) -> svg.Line:
    ranged = any(i.low < i.high for _, i in curve)
    band = tuple((float(k), i.low, i.high) for k, i in curve) if ranged else ()
    return svg.Line(label, tuple((float(k), i.mean) for k, i in curve), band, style)


def _train_charts(result: TrainResult) -> list[tuple[str, Markup]]:
    wanted = [("Accuracy", "accuracy"), ("Attack success", "attack_success")]
    charts = []
    for title, measure in wanted:
        points = _points(result.curve, measure)
        if points:
            line = svg.Line(title.lower(), points, style=1)
            said = f"ends at {words.percent(points[-1][1])}"
            charts.append((title, _safe(svg.line_chart(f"{title} over the rounds", said, [line], width=680))))
    if result.budget_spent:
        spent = tuple((float(number), share) for number, share in result.budget_spent)
        said = f"ends at {words.percent(spent[-1][1])} of epsilon's budget"
        line = svg.Line("budget spent", spent, style=2)
        title = "Privacy budget spent"
        charts.append((title, _safe(svg.line_chart(f"{title} over the rounds", said, [line], width=680))))
    return charts


def _points(curve: Iterable[Point], measure: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(p.round), getattr(p, measure)) for p in curve if getattr(p, measure) is not None)


def _recall_map(result: DrillResult, attack: str, title: str) -> Markup:
    clean = summary.mean_recall(summary.finished(result, NO_ATTACK, result.walls[0].name))
    rows = [("clean, no wall", clean)]
    rows += [(wall.name, summary.mean_recall(summary.finished(result, attack, wall.name))) for wall in result.walls]
    cells = [_recall_row(recall, clean, len(result.classes)) for _, recall in rows]
    said = "Recall of every class in per cent; the darker a field, the more was lost against the clean run."
    names = [name for name, _ in rows]
    return _safe(svg.heat_map(f"Recall under {title}", said, names, result.classes, cells, kind="loss"))


def _recall_row(recall: tuple[float, ...], clean: tuple[float, ...], classes: int) -> list[svg.Heat]:
    if not recall:
        return [svg.Heat(None, words.NOTHING)] * classes
    return [_recall_field(r, c) for r, c in zip(recall, clean or recall, strict=True)]


def _recall_field(recall: float, clean: float) -> svg.Heat:
    lost = (clean - recall) / _DARKEST
    return svg.Heat(lost, f"{100 * recall:.0f}") if math.isfinite(recall) else svg.Heat(None, words.NOTHING)


def _marked(clients: tuple[str, ...], hostile: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{client} (hostile)" if client in hostile else client for client in clients)


def _split(counts: tuple[tuple[int, ...], ...], classes: tuple[str, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """The label split as a map of its first rows, and how many clients that shows."""
    shown = counts[:_MOST_ROWS]
    most = max((n for row in shown for n in row), default=0)
    cells = [[svg.Heat(n / most if most else 0.0, str(n) if n else "") for n in row] for row in shown]
    said = "Training examples of each class at each client; the darker a field, the more examples."
    drawing = svg.heat_map("Labels at each client", said, names[: len(shown)], classes, cells, kind="amount")
    return {"map": _safe(drawing), "shown": len(shown), "clients": len(counts)}


def _provenance(manifest: Manifest) -> dict[str, Any]:
    recipe = json.dumps(manifest.recipe, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return {"manifest": manifest, "recipe": recipe.split("\n")}
