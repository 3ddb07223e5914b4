"""Pilots: honest federations run beforehand, so that a watch knows how strange honest clients look at their worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringfort.audit.scenario import Scenario
from ringfort.core.context import Contextual, Memory, RoundContext, wants
from ringfort.core.ports import Rule
from ringfort.core.randomness import Seeds
from ringfort.core.values import Aggregate
from ringfort.core.views import GramView
from ringfort.detect import Calibration, Score
from ringfort.rounds.fuse import Defence

__all__ = ["calibrate"]


def calibrate(
    scenario: Scenario, rule: Rule[Any], score: Score[Any], window: int, pilots: Sequence[Seeds]
) -> Calibration:
    """Run one honest federation for each of `pilots`, as long as the scenario, and measure every client in it.

    Args:
        scenario: the federation. Every pilot splits its training data anew.
        rule: what fuses the pilots' rounds: that of the federation to come, or its honest clients look different.
        score: what the calibrated detector will compare.
        window: rounds over which it is averaged.
        pilots: the seeds of each.

    Guarantees:
        Holds one round's updates at a time. Equal seeds give equal bits.

    Does not protect against: a federation that is not like its pilots. A server that has no clients' data must run them
        on other data, and then only hopes.
    """
    return Calibration.of(score, window, (_rounds(scenario, rule, seeds) for seeds in pilots))


def _rounds(scenario: Scenario, rule: Rule[Any], seeds: Seeds) -> Iterator[tuple[GramView, RoundContext]]:
    seen: list[tuple[GramView, RoundContext]] = []
    federation = scenario.federation(seeds, Defence(_Spy(rule, seen)), workers=scenario.workers)
    try:
        for _ in federation.states():
            while seen:
                yield seen.pop()
    finally:
        federation.exchange.close()


@dataclass(frozen=True)
class _Spy:
    """A rule that shows what it is given."""

    rule: Rule[Any]
    seen: list[tuple[GramView, RoundContext]] = field(repr=False)

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def needs(self) -> frozenset[str]:
        return wants(self.rule)

    def bears(self, n: int) -> int:
        return self.rule.bears(n)

    def bound(self, context: RoundContext) -> _Bound:
        rule: Any = self.rule.bound(context) if isinstance(self.rule, Contextual) else self.rule
        return _Bound(rule, context, self.seen)

    def __call__(self, view: Any, /) -> Aggregate:
        aggregate: Aggregate = self.rule(view)
        return aggregate


@dataclass(frozen=True)
class _Bound:
    rule: Any
    context: RoundContext = field(repr=False)
    seen: list[tuple[GramView, RoundContext]] = field(repr=False)

    def __call__(self, view: Any, /) -> Aggregate:
        self.seen.append((view, self.context))
        aggregate: Aggregate = self.rule(view)
        return aggregate

    def remember(self, given: Any, made: Any, /) -> Memory:
        memory: Memory = self.rule.remember(given, made) if hasattr(self.rule, "remember") else {}
        return memory
