"""Everything that a run's records say about each client: where it stands, how it got there, and on what evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringfort.core.values import ClientId, Verdict
from ringfort.rounds.record import RoundRecord

__all__ = ["Change", "Dossier", "dossiers"]

RECENT = 10
"""Rounds that a dossier shows."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a standing.

    Args:
        round: when.
        before: where it stood.
        after: where it stands.
        reasons: in words.
        evidence: what the detectors had measured in that round, as in the record; empty if a person decided.
    """

    round: int
    before: str
    after: str
    reasons: tuple[str, ...]
    evidence: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Dossier:
    """One client over a run.

    Args:
        client: about whom.
        standing: after the last round that says so; "new" before any.
        reputation: the share of good rounds, in (0, 1); None before any.
        barred: whether it was not to be asked in the last round.
        asked: in how many rounds it was asked.
        quarantines: how often it was quarantined, by evidence or by a person.
        changes: every change of its standing.
        recent: (round, what became of its update) of its last rounds.
    """

    client: ClientId
    standing: str = "new"
    reputation: float | None = None
    barred: bool = False
    asked: int = 0
    quarantines: int = 0
    changes: tuple[Change, ...] = ()
    recent: tuple[tuple[int, Verdict], ...] = field(default=(), repr=False)


def dossiers(records: Iterable[RoundRecord]) -> dict[ClientId, Dossier]:
    """By name, everybody whom the records mention, folded round by round. No watch: nothing but what they did."""
    found: dict[ClientId, Dossier] = {}
    for record in records:
        watch = record.watch
        barred = frozenset(watch.get("barred", ()))
        for client in {*record.cohort, *barred}:
            found.setdefault(client, Dossier(client))
        for client in record.cohort:
            found[client] = replace(found[client], asked=found[client].asked + 1)
        for verdict in record.verdicts:
            known = found[verdict.client]
            found[verdict.client] = replace(known, recent=(*known.recent, (record.round, verdict))[-RECENT:])
        for change in watch.get("transitions", ()):
            client = ClientId(change["client"])
            found[client] = _after(found.get(client, Dossier(client)), change, watch)
        for client, now in watch.get("clients", {}).items():
            found[client] = replace(found[client], standing=now["standing"], reputation=now["reputation"])
        if watch:
            found = {client: replace(one, barred=client in barred) for client, one in found.items()}
    return dict(sorted(found.items()))


def _after(known: Dossier, change: Mapping[str, Any], watch: Mapping[str, Any]) -> Dossier:
    reasons = tuple(change["reasons"])
    personal = any(reason.startswith("by a person:") for reason in reasons)
    evidence = () if personal else tuple(one for one in watch["evidence"] if one["client"] == known.client)
    one = Change(change["round"], change["before"], change["after"], reasons, evidence)
    return replace(
        known,
        standing=one.after,
        changes=(*known.changes, one),
        quarantines=known.quarantines + (one.after == "quarantined"),
    )
