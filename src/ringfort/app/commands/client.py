"""ringfort client: where every client of a run stands, why, and what a person decides about it.

Reading takes no lock, so all of it works while the run goes on; a decision takes effect before its next round.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfort.app.commands.shared import Json, print_result, reported, who_decides

if TYPE_CHECKING:
    from ringfort.rounds.decisions import Decision, PersonalAction
    from ringfort.rounds.dossier import Dossier
    from ringfort.rounds.record import RoundRecord

__all__ = ["app"]

app = typer.Typer(
    help="Clients of a run: standing, reputation, evidence; release, quarantine, revoke.", no_args_is_help=True
)

Run = Annotated[Path, typer.Option("--run", metavar="FOLDER", help="The run's folder.", show_default=False)]
Name = Annotated[str, typer.Argument(help="The client's name.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="For the record and the report.", show_default=False)]
By = Annotated[str | None, typer.Option("--by", help="Who decides; the user's name if left out.", show_default=False)]


@app.command("list")
@reported
def list_clients(run: Run, as_json: Json = False) -> None:
    """List every client: standing, reputation, quarantines, the last change and its reason."""
    import json

    from rich.table import Table

    from ringfort.report.words import clean
    from ringfort.rounds.dossier import dossiers

    records = _records(run)
    found = dossiers(records)
    pending = _pending(run, records)
    if as_json:
        value = {
            "round": records[-1].round,
            "standings": records[-1].watch.get("standings", {}),
            "clients": [_brief(one) for one in found.values()],
            "pending": [one.to_json() for one in pending],
        }
        print_result(json.dumps(value, indent=2))
        return
    columns = ("client", "standing", "reputation", "asked", "quarantines", "last change")
    table = Table(*columns, title=f"after round {records[-1].round}")
    for one in found.values():
        last = one.changes[-1] if one.changes else None
        said = f"round {last.round}: {'; '.join(last.reasons)}" if last else ""
        cells = (one.client, one.standing, _share(one.reputation), str(one.asked), str(one.quarantines), said)
        table.add_row(*(_plain(clean(cell)) for cell in cells))
    print_result(table)
    for decision in pending:
        print_result(clean(f"waits for the next round: {_said(decision)}"))
    print_result('"No flag" is not "no attacker".')


@app.command("show")
@reported
def show(name: Name, run: Run, as_json: Json = False) -> None:
    """Show one client: standing, reputation, every change with its evidence, its last rounds."""
    import json

    from ringfort.audit.watching import evidence_sentence
    from ringfort.report.words import clean

    records = _records(run)
    one = _known(name, records)
    pending = [decision for decision in _pending(run, records) if decision.client == one.client]
    if as_json:
        print_result(json.dumps(_whole(one, pending), indent=2))
        return
    lines = [
        f"client       {one.client}",
        f"standing     {one.standing}{', not asked in the last round' if one.barred else ''}",
        f"reputation   {_share(one.reputation)}",
        f"asked        in {one.asked} of {records[-1].round} rounds",
        f"quarantines  {one.quarantines}",
    ]
    for change in one.changes:
        lines.append(f"round {change.round}: {change.before} -> {change.after}: {'; '.join(change.reasons)}")
        lines += [f"    {evidence_sentence(evidence)}" for evidence in change.evidence]
    if one.recent:
        lines.append("last rounds")
    lines += [
        f"    {number}: {verdict.action.value}, share {verdict.weight:.3f} {'; '.join(verdict.reasons)}".rstrip()
        for number, verdict in one.recent
    ]
    lines += [f"waits for the next round: {_said(decision)}" for decision in pending]
    print_result("\n".join(clean(line) for line in lines))


@app.command("quarantine")
@reported
def quarantine(
    name: Name,
    run: Run,
    reason: Reason,
    rounds: Annotated[int, typer.Option("--rounds", help="For so many rounds.", min=1, show_default=False)],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Keep a client out for some rounds, from the next one on."""
    _decide("quarantine", name, run, reason, by, as_json, rounds)


@app.command("release")
@reported
def release(name: Name, run: Run, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Let a quarantined or revoked client take part again, on probation."""
    _decide("release", name, run, reason, by, as_json)


@app.command("revoke")
@reported
def revoke(name: Name, run: Run, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Take a client out for good, from the next round on. Only `release` lets it back in."""
    _decide("revoke", name, run, reason, by, as_json)


def _decide(
    action: PersonalAction, name: str, run: Path, reason: str, by: str | None, as_json: bool, rounds: int | None = None
) -> None:
    import json

    from ringfort.core.errors import InvalidValue
    from ringfort.rounds.decisions import Decision, Decisions

    records = _records(run)
    one = _known(name, records)
    who = who_decides(by)
    decision = Decision(action, one.client, reason, who, rounds)
    before = [d.action for d in _pending(run, records) if d.client == one.client]
    expected = {"quarantine": "quarantined", "revoke": "revoked", "release": "probation"}
    standing = expected[before[-1]] if before else one.standing
    if action == "release" and standing not in ("quarantined", "revoked"):
        raise InvalidValue(f"{one.client} is {standing}: only the quarantined and revoked are released")
    if action == "quarantine" and standing == "revoked":
        raise InvalidValue(f"{one.client} is revoked, which is more than quarantined: release it first")
    number = Decisions(run).append(decision)
    if as_json:
        print_result(json.dumps({"line": number, **decision.to_json()}, indent=2))
        return
    print_result(
        f"{_said(decision)}; applies before round {records[-1].round + 1}, or the one after it if that has begun"
    )


def _records(run: Path) -> tuple[RoundRecord, ...]:
    from ringfort.core.errors import DataUnavailable, Incompatible
    from ringfort.rounds.journal import read_records

    if not (run / "rounds.jsonl").is_file():
        raise DataUnavailable(f"{run} holds no run: there is no rounds.jsonl in it")
    records, _ = read_records(run)
    if not records:
        raise DataUnavailable(f"{run} holds a run without a committed round")
    if len(records) > 1 and not records[-1].watch:
        raise Incompatible(f"the run in {run} has no watch, so its clients have no standings: add a [watch] table")
    return records


def _pending(run: Path, records: tuple[RoundRecord, ...]) -> tuple[Decision, ...]:
    """What was decided and not yet applied."""
    from ringfort.rounds.decisions import Decisions

    return Decisions(run).since(records[-1].watch.get("decided", 0))


def _known(name: str, records: tuple[RoundRecord, ...]) -> Dossier:
    from ringfort.core.errors import UnknownName
    from ringfort.core.values import ClientId
    from ringfort.rounds.dossier import dossiers

    found = dossiers(records)
    if name not in found:
        raise UnknownName.of("client", name, found)
    return found[ClientId(name)]


def _brief(one: Dossier) -> dict[str, Any]:
    return {
        "client": one.client,
        "standing": one.standing,
        "reputation": one.reputation,
        "barred": one.barred,
        "asked": one.asked,
        "quarantines": one.quarantines,
        "last_change": one.changes[-1].round if one.changes else None,
    }


def _whole(one: Dossier, pending: list[Decision]) -> dict[str, Any]:
    return {
        **_brief(one),
        "changes": [
            {
                "round": change.round,
                "before": change.before,
                "after": change.after,
                "reasons": list(change.reasons),
                "evidence": [dict(evidence) for evidence in change.evidence],
            }
            for change in one.changes
        ],
        "recent": [
            {"round": number, "action": v.action.value, "weight": v.weight, "reasons": list(v.reasons)}
            for number, v in one.recent
        ],
        "pending": [decision.to_json() for decision in pending],
    }


def _said(decision: Decision) -> str:
    span = f" for {decision.rounds} rounds" if decision.rounds else ""
    return f"{decision.action} {decision.client}{span} by {decision.by}: {decision.reason}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)
