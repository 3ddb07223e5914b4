"""The watch in the loop: what it cannot run under, what people decide, and what a round's record says about it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringfort.core.context import EMPTY, Memory
from ringfort.core.errors import Incompatible, InvalidValue
from ringfort.core.seal import Seal
from ringfort.core.values import ClientId, Evidence
from ringfort.detect import Calibrated, Reputation, Transition, Watch
from ringfort.rounds.decisions import Decision

__all__ = ["Desk", "decide", "require_watch", "said"]

_MOST = 1e300


def require_watch(watch: Watch, seal: Seal | None, rounds: int) -> None:
    """Refuse, before the first round, a watch that cannot see, or that promises nothing for so many rounds.

    Raises:
        Incompatible (RF103): with the reason and the ways out.
    """
    if seal is not None:
        blind = {
            "total": "shows the server only the sum of all updates, and the watch looks at every one",
            "gram": "lets every server decide by itself, on one round's inner products alone, and the watch remembers "
            "clients from round to round",
            "rows": "shows means of groups that are drawn anew in every round: what a group did is no evidence against "
            "one of its members",
        }
        raise Incompatible(
            f"the {seal.name!r} seal {blind[seal.shows]}: leave out the watch and rely on the rule, or leave out the "
            "seal"
        )
    for detector in watch.detectors:
        if isinstance(detector, Calibrated) and detector.calibration.horizon < rounds:
            raise Incompatible(
                f"{detector.name} was calibrated on pilots of {detector.calibration.horizon} rounds, and this "
                f"federation has {rounds}: run longer pilots, or fewer rounds"
            )


@dataclass(frozen=True, slots=True)
class Desk:
    """What people decided before a round, and what is left of it.

    Args:
        memory: the watch's, with the decisions applied.
        decided: decisions dealt with so far, over the whole run.
        transitions: what they changed.
        refused: decisions that could not be applied, with the reason why, as the record shows them.
    """

    memory: Memory = field(default_factory=dict, repr=False)
    decided: int = 0
    transitions: tuple[Transition, ...] = ()
    refused: tuple[dict[str, Any], ...] = ()


def decide(
    watch: Watch, memory: Memory, decisions: Iterable[Decision], members: Collection[ClientId], before: int, done: int
) -> Desk:
    """Apply people's decisions to the watch's memory.

    Args:
        watch: whose memory it is.
        memory: the watch's.
        decisions: new ones, in order.
        members: everybody who takes part.
        before: the round that comes next.
        done: decisions dealt with before these.

    Guarantees:
        One that cannot be applied (a stranger, a release of somebody who is free) changes nothing and is noted.
    """
    desk = Desk(memory, done)
    for one in decisions:
        known = set(members) | set(watch.standings(desk.memory).clients)
        try:
            if one.client not in known:
                raise InvalidValue(f"there is no client {one.client}")
            changed, transition = _apply(watch, desk.memory, one, before)
            desk = replace(desk, memory=changed, transitions=(*desk.transitions, transition))
        except InvalidValue as error:
            desk = replace(desk, refused=(*desk.refused, {**one.to_json(), "why": error.message}))
        desk = replace(desk, decided=desk.decided + 1)
    return desk


def _apply(watch: Watch, memory: Memory, one: Decision, before: int) -> tuple[Memory, Transition]:
    reason = f"{one.reason.strip()} ({one.by.strip()})"
    match one.action:
        case "release":
            memory, transition = watch.release(memory, one.client, reason, before)
        case "revoke":
            memory, transition = watch.revoke(memory, one.client, reason, before)
        case "quarantine":
            # The record counts rounds after the one given; a decision before a round bars from that round on.
            memory, transition = watch.quarantine(memory, one.client, reason, before - 1, one.rounds or 0)
    return memory, replace(transition, round=before)


def said(
    watch: Watch,
    memory: Memory,
    cohort: Collection[ClientId],
    barred: Collection[ClientId],
    evidence: Iterable[Evidence],
    transitions: Iterable[Transition],
    desk: Desk,
) -> dict[str, Any]:
    """What a round's record says about its watch, in plain values.

    Args:
        watch: whose.
        memory: the watch's, after the round.
        cohort: who was asked.
        barred: who was not, because of its standing.
        evidence: everything measured. Written down: what is suspicious, and all about whoever changed its standing.
        transitions: of this round.
        desk: what people decided before it.
    """
    standings = watch.standings(memory)
    changes = (*desk.transitions, *transitions)
    changed = {one.client for one in changes}
    names = tuple(sorted(cohort))
    told: dict[str, Any] = {
        "barred": sorted(barred),
        "standings": {standing.name.lower(): count for standing, count in standings.counts().items()},
        "clients": {client: _record(one) for client, one in zip(names, standings.of(names), strict=True)},
        "evidence": [
            _evidence(one) for one in evidence if one.p_value <= watch.policy.suspicious or one.client in changed
        ],
        "transitions": [_transition(one) for one in changes],
        "decided": desk.decided,
    }
    return told | ({"refused": list(desk.refused)} if desk.refused else {})


def _record(one: Reputation) -> Mapping[str, Any]:
    return {"standing": one.standing.name.lower(), "reputation": round(one.expectation, 6)}


def _transition(one: Transition) -> dict[str, Any]:
    return {
        "client": one.client,
        "round": one.round,
        "before": one.before.name.lower(),
        "after": one.after.name.lower(),
        "reasons": list(one.reasons),
    }


def _evidence(one: Evidence) -> dict[str, Any]:
    return {
        "client": one.client,
        "detector": one.detector,
        "metric": one.metric,
        "observed": _finite(one.observed),
        "expected": _finite(one.expected),
        "p_value": one.p_value,
        "note": one.note,
    }


def _finite(value: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, -_MOST), _MOST)


NOBODY = Desk(EMPTY)
"""No watch: nobody decides anything."""
