"""The heart of a round as a pure function: a view and a defence in, an aggregate and verdicts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from ringfort.aggregate.chain import Chain
from ringfort.core.checks import whole
from ringfort.core.context import EMPTY, Contextual, Memory, RoundContext
from ringfort.core.errors import Incompatible, ToleranceExceeded
from ringfort.core.ports import Rule
from ringfort.core.seal import Shows
from ringfort.core.values import Action, Aggregate, ClientId, Evidence, Verdict
from ringfort.core.views import GramView, Rows, Total, mix
from ringfort.detect import Ruling, Transition, Watch
from ringfort.detect.detector import joined, part

__all__ = ["SIGHTS", "Defence", "Fused", "History", "fuse", "needs", "no_step", "require", "verdicts_of"]

_RULE, _WATCH = "rule", "watch"
"""Whose part of the memory it is, where there is a watch."""

SIGHTS: tuple[Shows, ...] = ("total", "gram", "rows")
"""From least to most."""


@dataclass(frozen=True, slots=True)
class History:
    """What the server remembers about its clients from round to round, folded from the verdicts.

    What a defence remembers beside it (momenta, sums of past updates) is its `Memory`.

    Args:
        rounds: how many were fused.
        shares: per client, the sum of its shares of the aggregates.
        accepted: per client, in how many rounds its update counted.
        left_out: per client, in how many rounds it came in but the rule gave it no weight.
    """

    rounds: int = 0
    shares: Mapping[ClientId, float] = field(default_factory=dict)
    accepted: Mapping[ClientId, int] = field(default_factory=dict)
    left_out: Mapping[ClientId, int] = field(default_factory=dict)

    def after(self, verdicts: tuple[Verdict, ...]) -> History:
        """One round later."""
        shares, accepted, left_out = dict(self.shares), dict(self.accepted), dict(self.left_out)
        for verdict in verdicts:
            shares[verdict.client] = shares.get(verdict.client, 0.0) + verdict.weight
            tally = left_out if verdict.action in (Action.EXCLUDE, Action.QUARANTINE) else accepted
            tally[verdict.client] = tally.get(verdict.client, 0) + 1
        return History(self.rounds + 1, shares, accepted, left_out)


@dataclass(frozen=True, slots=True)
class Defence:
    """The walls of a federation: the rule, and the watch before it.

    Args:
        rule: makes the step. The plain mean is allowed, and says of itself that it is no wall.
        watch: inspects every round, remembers every client, and rules on each update before the rule sees it. Then the
            rule's memory and the watch's lie side by side, each under its own name.
    """

    rule: Rule[Any]
    watch: Watch | None = None

    @property
    def name(self) -> str:
        """What recipes and reports call it."""
        return self.rule.name if self.watch is None else f"watch | {self.rule.name}"

    @property
    def label(self) -> str:
        """The parts with the parameters they were given, as `Watch(alpha=0.01) | TrimmedMean(f=4)`."""
        parts = self.rule.parts if isinstance(self.rule, Chain) else (self.rule,)
        before = () if self.watch is None else (f"Watch(alpha={self.watch.policy.alpha:g})",)
        return " | ".join([*before, *(_shown(part) for part in parts)])

    def facing(self, n: int, refused: int, quarantined: int = 0) -> Defence:
        """This defence for `n` updates, `refused` clients that sent what honest software does not, and `quarantined`.

        Each of those is one of the f attackers that the rule was told to bear, so at most f - refused are left among
        the n. Only if n has become too small for f does the rule run with that smaller number: otherwise a hostile
        client could end rounds by sending garbage. Clients that are absent, fail or diverge lower n and never f.
        A quarantine can be a mistake, so quarantined clients lower f one by one, and no further than n makes necessary.
        """
        f = getattr(self.rule, "f", 0)
        if not f or not (refused or quarantined) or self.rule.bears(n) >= f:
            return self
        faced = self._bearing(max(0, f - refused))
        while quarantined and faced.rule.bears(n) < faced.rule.f:  # type: ignore[attr-defined]
            faced, quarantined = faced._bearing(faced.rule.f - 1), quarantined - 1  # type: ignore[attr-defined]
        return faced

    def _bearing(self, f: int) -> Defence:
        if isinstance(self.rule, Chain):
            return replace(self, rule=self.rule.bearing(f))
        return replace(self, rule=replace(self.rule, f=f))  # type: ignore[type-var]

    def watched(self, memory: Memory) -> Memory:
        """The watch's part of what this defence remembers."""
        return part(memory, _WATCH)

    def with_watched(self, memory: Memory, watched: Memory) -> Memory:
        """What this defence remembers, with another part for its watch."""
        return joined({_RULE: part(memory, _RULE), _WATCH: watched})


def _shown(part: Any) -> str:
    given = {f.name: getattr(part, f.name) for f in fields(part)}
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    return type(part).__name__ + (f"({shown})" if shown else "")


@dataclass(frozen=True, slots=True)
class Fused:
    """What one round's updates became.

    Args:
        aggregate: the step.
        verdicts: one per name in the view, in its order.
        memory: what the defence remembers for the next round.
        defence: as it ran: with a smaller f, where attackers were found and n would else have been too small.
        evidence: everything that the watch measured.
        transitions: every change of a client's standing.
    """

    aggregate: Aggregate
    verdicts: tuple[Verdict, ...]
    memory: Memory
    defence: Defence
    evidence: tuple[Evidence, ...] = ()
    transitions: tuple[Transition, ...] = ()


def fuse(
    view: Rows | GramView | Total, defence: Defence, context: RoundContext, refused: int = 0, barred: int = 0
) -> Fused:
    """Make one step from one round's updates: the watch rules on them, then the rule makes the step.

    Args:
        view: what the server can see of the admitted updates.
        defence: the walls.
        context: what the round offers besides, the defence's memory included.
        refused: clients of this round that sent what honest software does not; see `Defence.facing`.
        barred: places of this round's cohort that stayed empty because their clients are quarantined or revoked.

    Guarantees:
        Pure: no I/O, no randomness but the context's, no writing to its arguments. The same record replays to the same
        bits.
        The watch's rulings are a small matrix over the rows: products are taken once, for the watch and the rule.
        A watch that takes out so many that the rule cannot run makes a round without a step, whose quarantines stand:
        evidence never ends a round before it is written down.

    Raises:
        ToleranceExceeded (RF301): too few updates for the rule; it never falls back to a weaker one.
        Incompatible (RF103): a watch over a view that shows only a sum.
    """
    if defence.watch is None:
        faced = defence.facing(len(view.clients), refused, barred)
        aggregate, memory = _ruled(view, faced.rule, context)
        return Fused(aggregate, verdicts_of(aggregate), memory, faced)
    if isinstance(view, Total):
        raise Incompatible("the watch looks at every update, and a sum shows none")
    watching = replace(context, seeds=context.seeds.under(_WATCH), memory=part(context.memory, _WATCH))
    seen = defence.watch.inspect(view, watching)
    rulings = seen.decision.rulings
    factors = np.array([ruling.factor for ruling in rulings])
    kept = np.flatnonzero(factors)
    faced = defence.facing(len(kept), refused, barred + len(factors) - len(kept))
    mixed = view
    if (factors != 1).any() and len(kept):
        mixed = mix(view, np.diag(factors)[kept], [view.clients[i] for i in kept])
    ruling_context = replace(context, memory=part(context.memory, _RULE))
    try:
        aggregate, memory = _ruled(mixed, faced.rule, ruling_context) if len(kept) else _no_step(view, faced, context)
    except ToleranceExceeded:
        if len(kept) == len(factors):
            raise
        aggregate, memory = _no_step(view, faced, context)
    verdicts = _joint(rulings, aggregate)
    remembered = joined({_RULE: memory, _WATCH: seen.memory})
    return Fused(aggregate, verdicts, remembered, faced, seen.evidence, seen.decision.transitions)


def no_step(d: int, defence: Defence, memory: Memory) -> Fused:
    """A round in which nobody moves the model, and the defence remembers what it did before."""
    nobody = Aggregate(np.zeros(d, dtype=np.float32), (), np.zeros(0), defence.rule.name)
    return Fused(nobody, (), memory, defence)


def _no_step(view: GramView, defence: Defence, context: RoundContext) -> tuple[Aggregate, Memory]:
    return no_step(view.d, defence, context.memory).aggregate, part(context.memory, _RULE)


def _ruled(view: Any, rule: Any, context: RoundContext) -> tuple[Aggregate, Memory]:
    """The rule's step in this round, and what it remembers."""
    rule = rule.bound(context) if isinstance(rule, Contextual) else rule
    aggregate: Aggregate = rule(view)
    return aggregate, rule.remember(view, aggregate) if hasattr(rule, "remember") else EMPTY


def _joint(rulings: tuple[Ruling, ...], aggregate: Aggregate) -> tuple[Verdict, ...]:
    """The watch's rulings and the rule's weights as one verdict per client; a weight is its share of the step."""
    given = dict(zip(aggregate.clients, (float(weight) for weight in aggregate.weights), strict=True))
    shares = {one.client: one.factor * given.get(one.client, 0.0) for one in rulings}
    total = sum(shares.values()) or 1.0
    unheard = f"no weight under {aggregate.rule}" if given else "too few are left for a step"
    verdicts = []
    for one in rulings:
        share, reasons = shares[one.client] / total, one.reasons
        action = one.action
        if action is not Action.QUARANTINE and share == 0:
            action, reasons = Action.EXCLUDE, (aggregate.notes.get(one.client, unheard), *reasons)
        verdicts.append(Verdict(one.client, action, share, reasons))
    return tuple(verdicts)


def verdicts_of(aggregate: Aggregate) -> tuple[Verdict, ...]:
    """One verdict per name behind an aggregate: what has no weight was left out, with the rule's reason."""
    return tuple(
        Verdict(client, Action.ACCEPT, float(weight))
        if weight > 0
        else Verdict(client, Action.EXCLUDE, 0.0, (aggregate.notes.get(client, f"no weight under {aggregate.rule}"),))
        for client, weight in zip(aggregate.clients, aggregate.weights, strict=True)
    )


def require(defence: Defence, n: int, f: int) -> None:
    """Refuse, before the first round, a defence that cannot bear f attackers in a cohort of n.

    Raises:
        ToleranceExceeded (RF301): it cannot.
    """
    whole(0, f=f)
    if f > defence.rule.bears(n):
        raise ToleranceExceeded(
            f"{defence.label} bears {defence.rule.bears(n)} attackers among {n} clients, not f={f}: "
            "lower f, enlarge the cohort, or choose another rule"
        )


def needs(rule: Rule[Any] | type[Rule[Any]]) -> Shows:
    """The least that a rule must see, by the type of view in its signature: "total", "gram" or "rows".

    A chain must see what any of its parts must see, and at least inner products for its mixings.
    """
    parts = rule.parts if isinstance(rule, Chain) else (rule,)
    least = [_sees(part if isinstance(part, type) else type(part)) for part in parts] + (
        ["gram"] if len(parts) > 1 else []
    )
    return max(least, key=SIGHTS.index)


def _sees(part: type[Any]) -> Shows:
    """By the first parameter of what takes the view: `on` where a part needs its round, else the call itself."""
    takes = getattr(part, "on", part.__call__)
    hint = get_type_hints(takes)["view"]
    kinds = get_args(hint) or (hint,)
    return "total" if Total in kinds else "gram" if GramView in kinds else "rows"
