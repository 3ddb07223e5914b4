"""What the watch made of a run, for reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ringfort.audit.results import ClientStanding, StandingChange, WatchReport
from ringfort.core.values import ClientId
from ringfort.detect import Watch
from ringfort.rounds.dossier import Change, Dossier, dossiers
from ringfort.rounds.record import RoundRecord

__all__ = ["evidence_sentence", "quarantined", "watch_report"]


def watch_report(watch: Watch, records: Iterable[RoundRecord]) -> WatchReport:
    """Every client's standing and how it got there, and what people decided that could not be applied."""
    records = tuple(records)
    return WatchReport(
        alpha=watch.policy.alpha,
        detectors=tuple(detector.name for detector in watch.detectors),
        promised=tuple(sorted(watch.promised)),
        reputation=watch.policy.reputation,
        standings=dict(records[-1].watch.get("standings", {})),
        clients=tuple(_standing(one) for one in dossiers(records).values()),
        refused=tuple(
            f"round {record.round}: {one['action']} of {one['client']} by {one['by']} was not applied: {one['why']}"
            for record in records
            for one in record.watch.get("refused", ())
        ),
    )


def quarantined(records: Iterable[RoundRecord], hostile: Collection[ClientId]) -> tuple[int, int]:
    """How many attackers and how many honest clients were ever quarantined."""
    ever = {client for client, one in dossiers(records).items() if one.quarantines}
    return len(ever & set(hostile)), len(ever - set(hostile))


def evidence_sentence(one: Mapping[str, Any]) -> str:
    """What one detector measured, in words."""
    return (
        f"{one['detector']}: {one['metric']} {one['observed']:.3g}, expected {one['expected']:.3g}, "
        f"p = {one['p_value']:.2g}"
    )


def _standing(one: Dossier) -> ClientStanding:
    return ClientStanding(
        one.client, one.standing, one.reputation, one.quarantines, tuple(_change(change) for change in one.changes)
    )


def _change(change: Change) -> StandingChange:
    evidence = tuple(evidence_sentence(one) for one in change.evidence)
    return StandingChange(change.round, change.before, change.after, change.reasons, evidence)
