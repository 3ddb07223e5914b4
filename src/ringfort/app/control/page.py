"""What the control room's pages show, drawn from records; every string is cleaned and escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from ringfort.app.control.alerts import Alert
from ringfort.app.control.numbers import spent_share
from ringfort.audit.watching import evidence_sentence
from ringfort.report import svg, words
from ringfort.rounds.dossier import Dossier, dossiers
from ringfort.rounds.record import RoundRecord

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["Scene", "client_page", "live", "overview", "style"]

_ORDER: Final = ("revoked", "quarantined", "probation", "watched", "new", "trusted")
_MOST_CLIENTS, _MOST_ROUNDS = 200, 20


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a page may show.

    Args:
        title: of the recipe.
        rounds: how many there will be; None if unknown.
        records: so far, at least the genesis record.
        alerts: so far.
        pending: decisions that wait for the next round, in words.
        trouble: what is wrong with the folder, empty if nothing.
    """

    title: str
    rounds: int | None
    records: Sequence[RoundRecord]
    alerts: Sequence[Alert]
    pending: Sequence[str]
    trouble: str

    @property
    def last(self) -> RoundRecord:
        """The last record."""
        return self.records[-1]

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.trouble:
            return "trouble"
        return "finished" if self.rounds is not None and self.last.round >= self.rounds else "running"


def overview(scene: Scene) -> str:
    """The page that then keeps itself up to date."""
    return _render("overview.html.j2", scene=scene, live=_markup(live(scene)))


def live(scene: Scene) -> str:
    """The part of the overview that changes with every round."""
    found = dossiers(scene.records)
    ordered = sorted(found.values(), key=lambda one: (_ORDER.index(one.standing), one.client))
    return _render(
        "live.html.j2",
        scene=scene,
        numbers=_numbers(scene),
        charts=_charts(scene),
        clients=[_row(one) for one in ordered[:_MOST_CLIENTS]],
        hidden=max(0, len(ordered) - _MOST_CLIENTS),
        rounds=list(reversed(scene.records[1:][-_MOST_ROUNDS:])),
        refusals=[(r.round, refusal) for r in reversed(scene.records) for refusal in r.refusals][:_MOST_ROUNDS],
        watched=bool(scene.last.watch) or scene.last.round == 0,
    )


def client_page(scene: Scene, one: Dossier, csrf: str, said: str) -> str:
    """One client: standing, every change with its evidence, and what a person can do."""
    changes = [(change, [evidence_sentence(dict(e)) for e in change.evidence]) for change in reversed(one.changes)]
    can = ["release"] if one.standing in ("quarantined", "revoked") else ["quarantine"]
    can += ["revoke"] if one.standing != "revoked" else []
    return _render(
        "client.html.j2", scene=scene, one=one, changes=changes, recent=one.recent[::-1], csrf=csrf, said=said, can=can
    )


def style() -> str:
    """The style sheet: the reports', and a few lines for the control room."""
    own = (files("ringfort.app.control") / "templates" / "control.css").read_text(encoding="utf-8")
    return (files("ringfort.report") / "templates" / "style.css").read_text(encoding="utf-8") + own


def _row(one: Dossier) -> dict[str, Any]:
    last = one.changes[-1] if one.changes else None
    return {
        "client": one.client,
        "standing": one.standing,
        "reputation": one.reputation,
        "asked": one.asked,
        "quarantines": one.quarantines,
        "last": f"round {last.round}: {'; '.join(last.reasons)}" if last else "",
    }


def _numbers(scene: Scene) -> list[tuple[str, str, str]]:
    last = scene.last
    of = f"of {scene.rounds}" if scene.rounds is not None else ""
    counting = sum(verdict.weight > 0 for verdict in last.verdicts)
    left_out = len(last.verdicts) - counting
    silent = f"{len(last.failures)} failed, {len(last.absent)} absent"
    out = [
        ("Round", str(last.round), of),
        ("Accuracy", words.percent(last.metrics.get("accuracy")), "on the server's hold-out data"),
        ("Counted in the last round", f"{counting} of {len(last.cohort)}", f"{left_out} left out by the defence"),
        ("Refused in the last round", str(len(last.refusals)), silent),
    ]
    standings = last.watch.get("standings", {})
    if standings:
        held = standings.get("quarantined", 0) + standings.get("revoked", 0)
        out.append(("Held", str(held), ", ".join(f"{count} {name}" for name, count in standings.items() if count)))
    if "spent" in last.privacy:
        spent, budget = last.privacy["spent"]["epsilon"], last.privacy["budget"]["epsilon"]
        out.append(("Privacy budget", words.percent(spent_share(last)), f"epsilon {spent:.2f} of {budget:g}"))
    return out


def _charts(scene: Scene) -> list[Markup]:
    out = []
    accuracy = tuple((float(r.round), r.metrics["accuracy"]) for r in scene.records if "accuracy" in r.metrics)
    if len(accuracy) > 1:
        said = f"now {words.percent(accuracy[-1][1])}"
        out.append(svg.line_chart("Accuracy over the rounds", said, [svg.Line("accuracy", accuracy, style=1)]))
    spent = tuple((float(r.round), spent_share(r)) for r in scene.records if "spent" in r.privacy)
    if len(spent) > 1:
        said = f"now {words.percent(spent[-1][1])} of epsilon's budget"
        out.append(svg.line_chart("Privacy budget spent", said, [svg.Line("budget spent", spent, style=2)]))
    return [_markup(drawing) for drawing in out]


def _markup(finished: str) -> Markup:
    from markupsafe import Markup

    return Markup(finished)  # noqa: S704 - rendered with autoescape, or drawn by svg, which escapes


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ringfort.app.control"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda v: words.clean(v) if isinstance(v, str) and not hasattr(v, "__html__") else v,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = words.percent
    return environment
